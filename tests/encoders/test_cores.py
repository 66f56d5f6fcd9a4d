"""How many cores an encoder may take."""

from __future__ import annotations

from pathlib import Path

import pytest

from histoseek.encoders import encoder


@pytest.fixture
def limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine of 64 cores, and the folder in which it tells a container its limits."""
    monkeypatch.setattr(encoder, "CGROUP", tmp_path)
    monkeypatch.setattr(encoder.os, "sched_getaffinity", lambda _: set(range(64)), raising=False)
    return tmp_path


@pytest.mark.parametrize(
    ("told", "cores"),
    [
        ("max 100000", 64),
        ("200000 100000", 2),
        ("150000 100000", 2),
        ("10000 100000", 1),
        ("9999999 100", 64),
        ("?", 64),
    ],
)
def test_the_quota_of_a_container_counts(limits: Path, told: str, cores: int) -> None:
    (limits / "cpu.max").write_text(f"{told}\n")
    assert encoder.n_cores() == cores


@pytest.mark.parametrize(("quota", "cores"), [(-1, 64), (400_000, 4)])
def test_the_first_kind_of_control_groups_counts_too(limits: Path, quota: int, cores: int) -> None:
    (limits / "cpu").mkdir()
    (limits / "cpu" / "cpu.cfs_quota_us").write_text(f"{quota}\n")
    (limits / "cpu" / "cpu.cfs_period_us").write_text("100000\n")
    assert encoder.n_cores() == cores


def test_without_limits_the_affinity_counts(limits: Path) -> None:
    assert encoder.n_cores() == 64
