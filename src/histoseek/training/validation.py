"""Choosing weights by what they are for: retrieval among patients who were not trained on."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

from histoseek.encoders.encoder import Settings
from histoseek.encoders.torch_encoder import TorchEncoder
from histoseek.evaluation import evaluate
from histoseek.index import Index
from histoseek.items import Skipped, read_skipped
from histoseek.training.towers import with_root
from histoseek.training.work import Work

SCORE = "mAP@10"
SHOWN = (SCORE, "Acc@1", "mMV@5")
FOLDER = ".validation.index"


def validate(work: Work, home: Path) -> tuple[dict[str, float], list[Skipped]]:
    """Scores of the validation queries, each leaving its own group out, by the same code as `histoseek evaluate`.

    Also gives the images of the validation pool that could not be read.
    """
    folder = home / FOLDER
    shutil.rmtree(folder, ignore_errors=True)
    try:
        index = Index.build(work.plan.data.pool, encoder_of(work), folder)
        skipped = read_skipped(folder / "skipped.csv")
        report = evaluate(
            index,
            "split = 'val'",
            protocol="leave-group-out",
            label=work.plan.config.label,
            ks=(1, 5, 10),
            n_bootstrap=1,
        )
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return {name: report.scores[name].value for name in SHOWN}, skipped


def encoder_of(work: Work) -> TorchEncoder:
    """The encoder as it stands, ready to embed."""
    base = work.plan.base.encoder
    fingerprint = replace(base.fingerprint, weights_sha256=f"in training, run {work.plan.digest}")
    return TorchEncoder(base.card, fingerprint, with_root(work.towers, work.kept_root), Settings())
