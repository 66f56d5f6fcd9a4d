"""What tests of faults share."""

from __future__ import annotations

from pathlib import Path

import pytest

from histoseek.index import Index, Removal
from tests.conftest import TinyEncoder, write_archive


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """An index that has seen some life."""
    (tmp_path / "pictures").mkdir()
    manifest = write_archive(tmp_path / "pictures")
    index = Index.build(manifest.where("split = 'train'"), TinyEncoder(), tmp_path / "x.index")
    index.add(manifest)
    index.remove(Removal(patients=["p1"]))
    return index.path
