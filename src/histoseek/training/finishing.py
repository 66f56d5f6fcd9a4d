"""From the best weights to an encoder folder that `index` takes and that a later run can start from."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from torch import nn

from histoseek.encoders import export_encoder
from histoseek.encoders.encoder import EncoderCard, Settings
from histoseek.encoders.encoder_json import FILE_NAME
from histoseek.encoders.huggingface import save_folder
from histoseek.encoders.licences import commercial_use
from histoseek.encoders.loading import MODEL_DIR
from histoseek.encoders.torch_encoder import TorchEncoder
from histoseek.items import written_whole
from histoseek.training.checkpoints import BEST, DIR, Place, put_weights, read_checkpoint
from histoseek.training.towers import merge_adapters, with_root
from histoseek.training.validation import SCORE
from histoseek.training.work import Work

CARD_FILE = "card.md"
DRAFT = ".encoder"


def leave_encoder(
    work: Work, home: Path, place: Place, epochs: Sequence[dict[str, Any]], plan_facts: Mapping[str, Any]
) -> None:
    """Write the network (`model/`), the card, and the encoder folder's own files, `encoder.json` last."""
    root = work.kept_root
    path = home / DIR / BEST
    put_weights(root, read_checkpoint(path)[0], path)
    root = copy.deepcopy(root).to("cpu")
    merge_adapters(root)
    _keep_scale(work, root)
    base = work.plan.base.encoder
    towers = with_root(work.towers, root)
    card = _card(work, home.resolve().name)
    fingerprint = replace(base.fingerprint, encoder=card.name, weights_sha256=f"run {work.plan.digest}")
    encoder = TorchEncoder(card, fingerprint, towers, Settings())
    save_folder(towers, work.plan.base.model_folder, home / MODEL_DIR)
    with written_whole(home / CARD_FILE) as draft:
        draft.write_text(_card_text(work, card, place, epochs, plan_facts), encoding="utf-8")
    shutil.rmtree(home / DRAFT, ignore_errors=True)
    export_encoder(encoder, home / DRAFT)
    names = sorted((one.name for one in (home / DRAFT).iterdir()), key=lambda name: name == FILE_NAME)
    for name in names:
        (home / DRAFT / name).replace(home / name)
    (home / DRAFT).rmdir()


def _keep_scale(work: Work, root: nn.Module) -> None:
    """Write the learnt factor on cosines into a model that has a place for it: the next run starts from there."""
    learnt = [value for name, value in work.learner.objective.named_parameters() if name.endswith("log_scale")]
    for name, weight in root.named_parameters():
        if learnt and name.rpartition(".")[2] == "logit_scale":
            weight.data.fill_(float(learnt[0].detach()))


def versions() -> dict[str, str]:
    """Versions of what training rests on."""
    return {name: version(name) for name in ("torch", "transformers", "accelerate", "peft", "pytorch-metric-learning")}


def _card(work: Work, name: str) -> EncoderCard:
    base, facts = work.plan.base.card, work.plan.data.manifest.facts
    dataset = str(facts.get("dataset") or "a manifest of one's own")
    about = f"{base.name} trained on {dataset} ({work.plan.config.mode}: {', '.join(work.plan.config.objectives)})"
    may = commercial_use(str(facts.get("licence") or ""))
    commercial = False if False in (base.commercial_use, may) else base.commercial_use and may
    return replace(base, name=name, source="", about=about, folder="", gated=False, commercial_use=commercial)


def _card_text(
    work: Work, card: EncoderCard, place: Place, epochs: Sequence[dict[str, Any]], plan_facts: Mapping[str, Any]
) -> str:
    """What a person should know before using the encoder, as Markdown."""
    facts = work.plan.data.manifest.facts
    shown = "\n".join(f"- {name}: {value}" for name, value in plan_facts.items())
    rows = "\n".join(
        f"| {'base' if line['epoch'] < 0 else line['epoch'] + 1} | {line['step']} | "
        + " | ".join(f"{value:.3f}" for value in line["validation"].values())
        + " |"
        for line in epochs
    )
    names = " | ".join(epochs[0]["validation"]) if epochs else SCORE
    return f"""# {card.name}

{card.about}. Research use only, never a diagnosis.

## Licence

The base's licence holds for these weights too: {card.licence}.
The data's licence, as its manifest states it: {facts.get("licence") or "not stated"}.

## Training

{shown}
- dataset: {facts.get("dataset") or "not stated"}
- groups stand for: {", ".join(sorted(set(map(str, work.plan.data.manifest.table["group_source"].to_pylist()))))}
- kept: epoch {place.best_epoch + 1}, chosen by {SCORE} on validation groups, each query's own group left out

| epoch | steps | {names} |
|---|---|{"---|" * len(epochs[0]["validation"] if epochs else [SCORE])}
{rows}

The validation groups chose the epoch, so these figures flatter it: measure on groups that training never saw.

```
{json.dumps(work.plan.config.plain(), indent=2, default=str)}
```
"""
