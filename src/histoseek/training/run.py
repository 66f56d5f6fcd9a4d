"""A training run from its first step to the encoder folder it leaves."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from histoseek.encoders.encoder_json import FILE_NAME
from histoseek.errors import InputError
from histoseek.items import Manifest, Skipped, written_whole
from histoseek.training.checkpoints import DIR, LAST, Place
from histoseek.training.config import TrainConfig
from histoseek.training.finishing import leave_encoder
from histoseek.training.journal import BEFORE, METRICS, Journal, read_lines
from histoseek.training.loop import Tell, go_on, run_epochs
from histoseek.training.plan import Plan, describe_plan, make_plan
from histoseek.training.validation import SCORE
from histoseek.training.work import Work, set_up

RUN_FILE = "run.json"


@dataclass(frozen=True)
class TrainedRun:
    """What a run came to: its encoder folder, validation scores of base and best epoch, and what was skipped."""

    folder: Path
    base_scores: dict[str, float]
    best_scores: dict[str, float]
    best_epoch: int
    skipped: tuple[Skipped, ...]

    @property
    def is_better(self) -> bool:
        """Whether the epoch that was kept beats the base on the validation queries."""
        return self.best_scores[SCORE] > self.base_scores[SCORE]


def train(
    manifest: Manifest,
    out: str | Path,
    config: TrainConfig | None = None,
    *,
    queries: Manifest | None = None,
    resume: bool = False,
    progress: Tell | None = None,
) -> TrainedRun:
    """Fine-tune an encoder on a manifest and write it as the encoder folder `out`.

    Trained is on items whose split is `train` or none; validation queries are those of the split `val`, else a share
    of the groups that is held back. `queries` are those of a later evaluation: a group among them may not be trained
    on. What is done is kept through Ctrl-C and kill, and `resume` goes on there. `progress` is called with steps done
    and in all.

    Raises:
        InputError: the data do not fit, `out` is in use, or a patient is on both sides.
        EncoderError: the base cannot be trained so.
    """
    home = Path(out)
    plan = make_plan(manifest, config or TrainConfig(), queries)
    _claim(home, resume)
    facts = describe_plan(plan)  # before the networks are made ready: what is trained is counted on a copy
    work = set_up(plan)
    if work.is_main and not (home / RUN_FILE).exists():
        _write_run(home, plan, {"plan": facts, "state": "begun"})
    place = go_on(work, home)
    journal = Journal(home, place, work.is_main)
    try:
        place, skipped = run_epochs(work, home, journal, place, progress)
    finally:
        journal.close()
    if work.is_main:
        _end(home, work, place, facts)
    work.accelerator.wait_for_everyone()
    base, best = _scores(home, BEFORE), _scores(home, place.best_epoch)
    return TrainedRun(home, base, best, place.best_epoch, tuple(skipped))


def is_first_process() -> bool:
    """Whether this process is the one that speaks and writes, as the launcher of several says."""
    return os.environ.get("RANK", "0") == "0"


def _claim(home: Path, resume: bool) -> None:
    """Refuse a folder that holds something, unless it is a run to be gone on with."""
    if (home / FILE_NAME).exists():
        raise InputError(f"{home} holds a finished run; choose another --out, or start from it with --base {home}")
    if (home / RUN_FILE).exists() or (home / DIR / LAST).exists():
        if not resume:
            raise InputError(f"{home} holds a run that was begun; go on with --resume, or choose another --out")
        return
    if home.exists() and (not home.is_dir() or any(home.iterdir())):
        raise InputError(f"{home} exists and is no training run; choose another --out")


def _end(home: Path, work: Work, place: Place, facts: dict[str, Any]) -> None:
    """Say in `run.json` how the encoder came about, and write it; `encoder.json`, written last, makes it valid."""
    lines = read_lines(home / METRICS)
    epochs = [line for line in lines if "validation" in line]
    done = {"state": "finished", "steps": place.step, "best epoch": place.best_epoch, "validation": epochs}
    _write_run(home, work.plan, {"plan": facts, **done})
    leave_encoder(work, home, place, epochs, facts)


def _write_run(home: Path, plan: Plan, facts: dict[str, Any]) -> None:
    from histoseek.evaluation.provenance import provenance_of
    from histoseek.training.finishing import versions

    content = {
        "format": 1,
        "config": plan.config.plain(),
        "manifest digest": plan.data.manifest.digest,
        "run": plan.digest,
        "seed": plan.config.seed,
        "classes": list(plan.data.classes),
        "validation groups": sorted(set(plan.data.pool.where(split="val").table["group"].to_pylist())),
        "base": provenance_of(plan.base.encoder.fingerprint) | versions(),
        "written": datetime.now(UTC).isoformat(timespec="seconds"),
        **facts,
    }
    with written_whole(home / RUN_FILE) as draft:
        draft.write_text(json.dumps(content, indent=2, ensure_ascii=False, default=str) + "\n", encoding="utf-8")


def _scores(home: Path, epoch: int) -> dict[str, float]:
    lines: Sequence[dict[str, Any]] = read_lines(home / METRICS)
    found = [line["validation"] for line in lines if "validation" in line and line["epoch"] == epoch]
    return dict(found[-1]) if found else {SCORE: float("nan")}
