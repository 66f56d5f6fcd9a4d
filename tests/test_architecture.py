"""The house rules of DESIGN: who imports whom, what an import costs, and how large things may grow."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import histoseek
import histoseek.index as histoseek_index
from histoseek.cli import VERBS
from histoseek.items import Manifest

SOURCE = Path(histoseek.__file__).parent
MODULES = sorted(path.relative_to(SOURCE).as_posix() for path in SOURCE.rglob("*.py"))
ROOMS = (
    "errors", "items", "imaging", "datasets", "phantom", "encoders", "stores", "metrics", "index", "evaluation",
    "training", "figures", "web", "cli",
)  # fmt: skip
"""Lowest first; a module imports only from its own room and those before it."""

LAZY = {("index/hits.py", "figures"), ("index/whole_search.py", "figures"), ("evaluation/report.py", "figures")}
"""Steps upwards that are allowed inside a function: results draw themselves on request."""

LATER = ("adding", "build", "heat", "pushing", "removing", "served", "snapshot", "verifying", "whole_search")
"""Files of the room `index` that a search does not use."""

HEAVY = (
    "torch", "openvino", "lancedb", "pandas", "pyarrow", "PIL", "numpy", "transformers", "sqlglot", "fastapi",
    "pydantic", "uvicorn",
)  # fmt: skip


def tree_of(module: str) -> ast.Module:
    return ast.parse((SOURCE / module).read_text(encoding="utf-8"))


def imported(module: str) -> Iterator[tuple[str, bool]]:
    """Full names that a module imports, TYPE_CHECKING included, and whether that happens inside a function."""
    tree = tree_of(module)
    inside = {
        id(node)
        for function in functions(tree)
        for node in ast.walk(function)
        if isinstance(node, (ast.Import, ast.ImportFrom))
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, id(node) in inside
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} imports relatively"
            for alias in node.names:
                yield f"{node.module}.{alias.name}", id(node) in inside


def functions(tree: ast.AST) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    return [node for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]


def room_of(module: str) -> str:
    return module.split("/")[0].removesuffix(".py")


@pytest.mark.parametrize("module", [name for name in MODULES if name not in ("__init__.py", "__main__.py")])
def test_module_imports_only_what_stands_below_it(module: str) -> None:
    own = ROOMS.index(room_of(module))
    for name, lazy in imported(module):
        parts = name.split(".")
        if parts[0] != "histoseek" or len(parts) == 1 or parts[1] not in ROOMS:
            continue
        allowed = ROOMS.index(parts[1]) <= own or (lazy and (module, parts[1]) in LAZY)
        assert allowed, f"{module} imports {name}, which stands above it"


@pytest.mark.parametrize("module", MODULES)
def test_no_module_imports_pickle(module: str) -> None:
    assert not {name.split(".")[0] for name, _ in imported(module)} & {"pickle", "dill", "joblib", "shelve", "marshal"}


@pytest.mark.parametrize("module", MODULES)
def test_file_has_at_most_400_lines(module: str) -> None:
    assert len((SOURCE / module).read_text(encoding="utf-8").splitlines()) <= 400


@pytest.mark.parametrize("module", MODULES)
def test_functions_have_at_most_40_lines_and_6_parameters(module: str) -> None:
    is_verb = module.startswith("cli/")  # each option of a verb is a parameter
    for function in functions(tree_of(module)):
        assert function.end_lineno is not None
        lines = function.end_lineno - function.lineno + 1
        given = function.args
        names = [
            one.arg for one in (*given.posonlyargs, *given.args, *given.kwonlyargs) if one.arg not in ("self", "cls")
        ]
        assert lines <= (60 if is_verb else 40), f"{module}: {function.name} has {lines} lines"
        assert is_verb or len(names) <= 6, f"{module}: {function.name} has {len(names)} parameters"


@pytest.mark.parametrize("module", MODULES)
def test_module_is_named_for_what_it_holds(module: str) -> None:
    empty = {"utils", "util", "helpers", "helper", "common", "base", "manager", "misc"}
    assert not {part.removesuffix(".py") for part in module.split("/")} & empty


def test_import_is_light() -> None:
    code = f"import sys, histoseek; print([name for name in {HEAVY!r} if name in sys.modules])"
    answer = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"


def test_a_search_of_a_folder_imports_only_what_it_uses(archive: Manifest, tmp_path: Path) -> None:
    histoseek.Index.build(archive, "color", tmp_path / "x.index")
    code = (
        "import sys\nfrom histoseek.cli import main\n"
        "try:\n    main(sys.argv[1:])\nfinally:\n    print(*sys.modules, file=sys.stderr)"
    )
    asked = ["search", str(tmp_path / "x.index"), "--item", "toy/p0_0"]
    answer = subprocess.run([sys.executable, "-c", code, *asked], capture_output=True, text=True, check=True)
    loaded = answer.stderr.splitlines()[-1].split()
    assert "histoseek.index.index" in loaded
    verbs = (f"histoseek.cli.{name}" for name in VERBS.values() if name != "search")
    others = ("histoseek.stores.milvus", "histoseek.index.ray", *(f"histoseek.index.{name}" for name in LATER), *verbs)
    packages = {"torch", "transformers", "openvino", "lancedb", "sqlglot", "faiss", "pymilvus", "ray", "filelock"}
    packages |= {"pyarrow.parquet", "pyarrow.fs", "ssl"}
    assert [name for name in loaded if name.startswith(others) or name in packages] == []


@pytest.mark.parametrize("name", histoseek_index.__all__)
def test_names_of_the_index_room_are_there(name: str) -> None:
    assert getattr(histoseek_index, name) is not None


def test_public_names_are_a_dozen_at_most_and_all_there() -> None:
    assert len(histoseek.__all__) <= 12
    for name in histoseek.__all__:
        assert getattr(histoseek, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nope'"):
        _ = histoseek.nope
