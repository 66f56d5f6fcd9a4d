"""The page's own files, and the libraries that are put beside them: small, strict, and none from elsewhere."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import math
import re
import sys
from importlib.resources import files
from pathlib import Path
from types import ModuleType

import pytest

from histoseek.imaging import FORMATS, quality
from histoseek.web import Limits

WEB = Path(str(files("histoseek.web")))
PAGE = WEB / "page"
FILES = sorted(path for path in PAGE.iterdir() if path.suffix in (".js", ".css", ".html", ".svg"))
SCRIPT = Path(__file__).parents[2] / "scripts" / "page_assets.py"


@pytest.fixture
def page_assets() -> ModuleType:
    if not SCRIPT.exists():
        pytest.skip("needs a checkout")
    spec = importlib.util.spec_from_file_location("page_assets", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_file_is_short_and_named_for_what_it_holds(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 400
    assert path.suffix != ".js" or max(map(len, lines)) <= 120
    assert path.stem not in {"utils", "helpers", "common", "base", "manager", "misc"}


@pytest.mark.parametrize("path", [path for path in FILES if path.suffix == ".js"], ids=lambda path: path.name)
def test_script_does_nothing_that_the_policy_forbids_or_that_lets_text_become_code(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    for forbidden in (
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "document.write",
        "eval(",
        "new Function",
        "//cdn",
    ):
        assert forbidden not in text
    assert not re.search(r"""\bstyle=["']""", text), "a style attribute"
    assert "fetch(" not in text or path.name == "api.js", "only api.js talks to the server"
    assert not re.search(r"https?://(?!www\.w3\.org/)", text), "an address elsewhere"


def test_page_has_no_script_and_no_style_of_its_own() -> None:
    text = (PAGE / "index.html").read_text(encoding="utf-8")
    assert all('src="' in tag for tag in re.findall(r"<script[^>]*>", text))
    assert "<style" not in text
    assert not re.search(r"\son\w+=|\sstyle=|https?://", text)


def number_in(name: str, constant: str) -> float:
    """A number that a script states as a product of numbers."""
    found = re.search(rf"^const {constant} = ([\d. *]+);", (PAGE / name).read_text(encoding="utf-8"), re.MULTILINE)
    assert found is not None, constant
    return math.prod(float(part) for part in found[1].split("*"))


def test_page_takes_the_pictures_that_the_server_takes() -> None:
    assert number_in("picture.js", "MAX_BYTES") == Limits().upload_bytes
    text = (PAGE / "picture.js").read_text(encoding="utf-8")
    kinds = re.search(r"const KINDS = \[(.*?)\];", text)
    assert kinds is not None
    assert {f"image/{name.lower()}" for name in FORMATS} <= set(re.findall(r"'([^']+)'", kinds[1]))
    asked = (PAGE / "ask_picture.js").read_text(encoding="utf-8")
    accepted = re.search(r'accept="([^"]+)"', asked)
    assert accepted is not None
    assert set(accepted[1].split(",")) == {f"image/{name.lower()}" for name in FORMATS}


def test_page_and_server_tell_blank_pictures_alike() -> None:
    for name in ("BRIGHT", "COLOURLESS", "BLANK_SHARE", "EVEN_SPREAD"):
        assert number_in("picture.js", name) == getattr(quality, name)


def test_no_function_of_a_script_is_left_over() -> None:
    texts = [path.read_text(encoding="utf-8") for path in FILES if path.suffix == ".js"]
    whole = "\n".join(texts)
    for text in texts:
        for word in re.findall(r"^(?:export )?(?:async )?(?:function|const) (\w+)", text, re.MULTILINE):
            assert len(re.findall(rf"\b{word}\b", whole)) > 1, f"nobody uses {word}"


def test_imports_lead_to_files_that_are_there() -> None:
    for path in FILES:
        for name in re.findall(r"from '(\./[^']+)'", path.read_text(encoding="utf-8")):
            assert (PAGE / name).is_file(), f"{path.name} imports {name}"


def test_lock_names_no_registry_and_a_digest_for_every_package() -> None:
    lock = json.loads((WEB / "package-lock.json").read_text(encoding="utf-8"))
    packages = {name: one for name, one in lock["packages"].items() if name}
    assert {name.removeprefix("node_modules/") for name in packages} == {"axe-core", "htm", "openseadragon", "preact"}
    for one in packages.values():
        assert "resolved" not in one
        assert one["integrity"].startswith("sha512-")


def test_a_file_that_is_another_one_is_refused(page_assets: ModuleType, tmp_path: Path) -> None:
    asset = page_assets.Asset("htm/dist/htm.module.js", "0" * 64)
    (tmp_path / "htm" / "dist").mkdir(parents=True)
    (tmp_path / asset.path).write_text("another", encoding="utf-8")
    with pytest.raises(page_assets.AssetsError, match="is not the file"):
        page_assets._take(tmp_path, tmp_path / "vendor", {"htm.module.js": asset})
    assert not (tmp_path / "vendor").exists()


def test_a_changed_file_counts_as_missing(page_assets: ModuleType, tmp_path: Path) -> None:
    data = b'import{x}from"preact";'
    asset = page_assets.Asset("hooks.js", hashlib.sha256(data).hexdigest())
    (tmp_path / "hooks.js").write_bytes(data)
    page_assets._take(tmp_path, tmp_path / "vendor", {"hooks.module.js": asset})
    own = tmp_path / "vendor" / "hooks.module.js"
    assert own.read_bytes() == b'import{x}from"./preact.module.js";'
    assert page_assets.assets_are_there(tmp_path / "vendor", {"hooks.module.js": asset})
    own.write_bytes(b"changed")
    assert not page_assets.assets_are_there(tmp_path / "vendor", {"hooks.module.js": asset})


def test_without_npm_the_reason_is_one_sentence(page_assets: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_assets, "npm_command", lambda: None)
    with pytest.raises(page_assets.AssetsError, match="npm is missing"):
        page_assets.fetch_assets()
