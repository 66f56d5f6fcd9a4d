"""Measure encoders on the same queries and write one table: recipes/mini/README.md says what is in it.

    python recipes/mini/measure.py color lite0=runs/imagenet/lite0_encoder mini --data ../shared/data --out real/mini

An encoder is anything that `histoseek.load_encoder` takes; NAME=ENCODER gives its column another name. Indexes are kept
under OUT/indexes and used again. Pictures are looked at, never written.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import Any

from atlas import atlas, opened
from figures import Figure, markdown, ratios
from retrieval import SCALES, breast, organs, pooled, words
from robustness import N_TILES, VIEWS, speed, steadiness

import histoseek as hs
from histoseek.encoders import describe
from histoseek.evaluation.provenance import provenance_of
from histoseek.items import written_whole

BASELINES = ("color", "lite0", "resnet50")
BEATEN = [(f"organ, {name}, held-out cases", f"macro {metric}") for name in SCALES for metric in ("Acc@1", "mMV@5")]
"""The figures that are also given as a ratio to the best baseline."""


def main() -> None:
    """Measure and write `targets.json` and `targets.md`."""
    asked = arguments()
    named = dict(name_of(text) for text in asked.encoders)
    columns: dict[str, list[Figure]] = {}
    about: dict[str, Any] = {}
    for name, encoder in named.items():
        start = time.monotonic()
        columns[name], about[name] = measured(name, encoder, asked)
        print(f"{name}: {len(columns[name])} figures in {time.monotonic() - start:.0f} s", flush=True)
    for name, added in ratios(columns, asked.baseline, BEATEN).items():
        columns[name] += added
    content = {name: {"about": about[name], "figures": [asdict(one) for one in columns[name]]} for name in columns}
    notes = [described(name, about[name]) for name in columns]
    if asked.limit is not None:
        notes.insert(
            0, f"**A smoke run: at most {asked.limit} tiles of a case and scale; these figures mean nothing.**"
        )
    with written_whole(asked.out / "targets.md") as draft:
        draft.write_text(markdown(columns, notes), encoding="utf-8")
    with written_whole(asked.out / "targets.json") as draft:
        draft.write_text(json.dumps(content, indent=1, ensure_ascii=False), encoding="utf-8")
    print(f"wrote {asked.out / 'targets.md'} and targets.json")


def arguments() -> argparse.Namespace:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("encoders", nargs="+", metavar="[NAME=]ENCODER")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="holds atlas/ and bach_sample/")
    parser.add_argument("--out", type=Path, default=Path("real/mini"))
    parser.add_argument(
        "--baseline", action="append", help=f"columns to compare with; {', '.join(BASELINES)} unless given"
    )
    parser.add_argument("--limit", type=int, help="tiles of a case and scale, for a smoke run")
    parser.add_argument("--no-speed", action="store_true", help="where the machine is busy")
    asked = parser.parse_args()
    asked.baseline = asked.baseline or list(BASELINES)
    return asked


def name_of(text: str) -> tuple[str, str]:
    """The column's name and the encoder of `NAME=ENCODER`, or of an encoder alone."""
    name, equals, encoder = text.partition("=")
    if equals:
        return name, encoder
    return (Path(text).name if Path(text).is_dir() else text), text


def measured(name: str, encoder_name: str, asked: argparse.Namespace) -> tuple[list[Figure], dict[str, Any]]:
    """All figures of one encoder, and what is known of it."""
    encoder = hs.load_encoder(encoder_name)
    small = asked.limit is not None
    indexes = asked.out / "indexes"
    index = opened(atlas(asked.data, asked.limit), encoder, indexes)
    figures = chain(
        organs(index, asked.out / "reports" / name),
        pooled(index),
        words(index),
        breast(asked.data, encoder, indexes, asked.out / "reports" / name),
        steadiness(index, 10 if small else N_TILES),
        () if asked.no_speed else speed(encoder_name, 64 if small else VIEWS),
    )
    found = list(figures)
    about = describe(encoder) | {"folder": "", "tiles": len(index), "tiles skipped": index.about.n_skipped}
    return found, about | {"provenance": provenance_of(encoder.fingerprint)}


def described(name: str, about: dict[str, Any]) -> str:
    """One line about an encoder."""
    text = "reads words" if about["has_text"] else "no words"
    return (
        f"{name}: {about['name']}, {about['dim']} numbers, views of {about['view_px']} px at {about['mpp']} µm/px, "
        f"{about['precision']}, {text}, licence {about['licence']}, fingerprint {about['fingerprint']}, "
        f"{about['tiles']} tiles indexed, {about['tiles skipped']} skipped"
    )


if __name__ == "__main__":
    main()
