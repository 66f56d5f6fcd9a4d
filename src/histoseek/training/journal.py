"""What a run writes down as it goes: every step and every epoch, for people and for TensorBoard."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch.utils.tensorboard import SummaryWriter

from histoseek.items import written_whole
from histoseek.training.checkpoints import Place

METRICS = "metrics.jsonl"
BOARD = "tensorboard"
BEFORE = -1
"""The epoch under which the scores of the base stand."""


class Journal:
    """Appends to `metrics.jsonl` and to TensorBoard's files; lines after `place` are of steps that will be taken again.

    Only one process of a run writes; the others' journals stay empty.
    """

    def __init__(self, home: Path, place: Place, writes: bool = True) -> None:
        self._writes = writes
        if not writes:
            return
        self._path = home / METRICS
        kept = [line for line in read_lines(self._path) if _is_done(line, place)]
        with written_whole(self._path) as draft:
            draft.write_text("".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8")
        self._file = self._path.open("a", encoding="utf-8")
        self._board = SummaryWriter(str(home / BOARD), purge_step=place.step + 1)

    def step(self, place: Place, losses: Mapping[str, float], rate: float) -> None:
        """Write down a step's losses."""
        self._write({"step": place.step, "epoch": place.epoch, **losses, "rate": rate})
        for name, value in losses.items():
            self._board.add_scalar(f"loss/{name}", value, place.step)

    def epoch(self, place: Place, scores: Mapping[str, float]) -> None:
        """Write down an epoch's validation."""
        self._write({"step": place.step, "epoch": place.epoch, "validation": dict(scores)})
        for name, value in scores.items():
            self._board.add_scalar(f"validation/{name}", value, place.step)
        self._board.flush()

    def close(self) -> None:
        """Close the files."""
        if not self._writes:
            return
        self._file.close()
        self._board.close()

    def _write(self, line: dict[str, Any]) -> None:
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The lines of a journal that are whole: a kill may have cut the last."""
    lines = []
    if path.is_file():
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                lines.append(json.loads(line))
            except ValueError:
                break
    return lines


def _is_done(line: Mapping[str, Any], place: Place) -> bool:
    if place.step == 0:
        return False
    return bool(line["epoch"] < place.epoch if "validation" in line else line["step"] <= place.step)
