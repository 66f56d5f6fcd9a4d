from __future__ import annotations

import shutil

import pytest

from histoseek.phantom import write_sample


@pytest.fixture(scope="session")
def sample(tmp_path_factory):
    """A small sample; tests that change it take a copy."""
    return write_sample(tmp_path_factory.mktemp("phantom") / "sample", 8, 6, seed=3, size=80)


@pytest.fixture
def sample_copy(sample, tmp_path):
    return shutil.copytree(sample, tmp_path / "copy")
