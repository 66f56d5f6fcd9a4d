"""Each row of docs/security.md names tests that are there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

TESTS = Path(__file__).parents[1]
PAGE = TESTS.parent / "docs" / "security.md"


def rows() -> list[tuple[str, list[str]]]:
    """Promises of the tables, each with what it names as its tests."""
    found = []
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if line.startswith("| ") and len(cells) == 2 and cells[0] != "promise":
            found.append((cells[0], re.findall(r"`([^`]+)`", cells[1])))
    return found


def test_every_promise_names_a_test_that_is_there() -> None:
    promises = rows()
    assert len(promises) >= 30
    for promise, named in promises:
        assert named, promise
        file = None
        for name in named:
            path, _, function = name.partition("::")
            if path.startswith("…"):
                function = path.removeprefix("…").strip("…")
            else:
                file = TESTS / path
            assert file is not None and file.is_file(), (promise, name)
            tree = ast.parse(file.read_text(encoding="utf-8"))
            tests = [node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
            assert any(function in test for test in tests if test.startswith("test_")), (promise, name)
