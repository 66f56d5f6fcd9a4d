"""A server process on an archive of drawn slides, and a browser that looks at it.

Set HISTOSEEK_SCREENSHOTS to a folder to see what the tests see.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import histoseek as hs
from histoseek.phantom import draw, make_patient, write_slides
from tests.web.browser.archive import annotate

sync_api = pytest.importorskip("playwright.sync_api", reason="needs the Python package playwright")

CHROMIUM = Path("/usr/bin/chromium")
ARGUMENTS = [
    "--no-sandbox",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--disable-background-networking",
]
VENDOR = Path(str(files("histoseek.web"))) / "vendor" / "openseadragon.min.js"
AXE = Path(__file__).parent / "vendor" / "axe.min.js"
WIDE = {"width": 1280, "height": 800}
WAIT_MS = 90_000  # the machine may be busy with other tests

Shoot = Callable[[str], None]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    missing = [str(path) for path in (CHROMIUM, VENDOR) if not path.exists()]
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.slow)
            if missing:
                item.add_marker(pytest.mark.skip(reason=f"the browser tests need {' and '.join(missing)}"))


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with slides of four patients, an index of their tiles, a map of it, and a report of an evaluation."""
    folder = tmp_path_factory.mktemp("browser")
    slides = write_slides(folder / "slides", n_patients=4, slides_each=1, size=(1664, 1152))
    annotate(slides)
    patients = folder / "patients.csv"
    patients.write_text("file,patient\n" + "".join(f"{one.name},{one.stem[:3]}\n" for one in slides.rglob("*.tif")))
    manifest = hs.prepare("slides", slides, cover=0.25, sidecar=patients)
    index = hs.Index.build(manifest, hs.load_encoder("mini"), folder / "drawn.index")
    hs.evaluate(index, index.manifest, protocol="leave-group-out").write(folder / "report")
    subprocess.run([sys.executable, "-m", "histoseek", "map", str(folder / "drawn.index")], check=True)
    return folder


@pytest.fixture(scope="session")
def pictures(home: Path) -> dict[str, Path]:
    """Pictures to ask with: one whose scale nobody states, one that states it, and a blank one."""
    gland = Image.fromarray(draw("dysplastic gland", 512, 512, 0.5, make_patient(99), 5))
    found = {name: home / f"{name}.png" for name in ("unscaled", "scaled", "blank")}
    gland.save(found["unscaled"])
    gland.save(found["scaled"], dpi=(50_800, 50_800))  # 0.5 µm per pixel
    Image.fromarray(np.full((256, 256, 3), 247, dtype=np.uint8)).save(found["blank"])
    return found


@pytest.fixture(scope="session")
def address(home: Path) -> Iterator[str]:
    """The address of a running server, as the command prints it."""
    report = ("--report", str(home / "report"))
    with serving(home / "drawn.index", *report, "--audit-log", str(home / "audit.jsonl")) as url:
        yield url


class serving:  # noqa: N801  # reads as `with serving(index) as url`
    """A server process while the block runs."""

    def __init__(self, index: Path, *options: str) -> None:
        command = [sys.executable, "-u", "-m", "histoseek", "serve", str(index), "--no-map", *options]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)

    def __enter__(self) -> str:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("http"):
                return line.strip()
        raise AssertionError("the server ended before it said where it listens")

    def __exit__(self, *_: object) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


@pytest.fixture(scope="module")  # Playwright keeps an event loop running, which other tests of the process cannot have
def browser() -> Iterator[sync_api.Browser]:
    """The system's Chromium, drawing in software."""
    sync_api.expect.set_options(timeout=WAIT_MS)
    with sync_api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=str(CHROMIUM), args=ARGUMENTS)
        yield opened
        opened.close()


@pytest.fixture
def refusals() -> list[str]:
    """What a test expects on the console; the browser notes each refused request there."""
    return []


@pytest.fixture
def open_page(browser: sync_api.Browser, address: str, refusals: list[str]) -> Iterator[Callable[..., sync_api.Page]]:
    """Opens pages of the server; in the end nothing may have been said on their consoles, of the CSP above all."""
    contexts, said = [], []

    def open_one(fragment: str = "", url: str = address, **options: object) -> sync_api.Page:
        context = browser.new_context(**{"viewport": WIDE, **options})
        context.set_default_timeout(WAIT_MS)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: said.append(f"{message.type}: {message.text} {message.location}"))
        page.on("pageerror", lambda error: said.append(f"error: {error}"))
        page.on("response", lambda answer: answer.status >= 500 and said.append(f"{answer.status} {answer.url}"))
        page.goto(url + fragment)
        return page

    yield open_one
    for context in contexts:
        context.close()
    unexpected = [one for one in said if not any(text in one for text in refusals)]
    assert not unexpected, "\n".join(unexpected)


@pytest.fixture
def page(open_page: Callable[..., sync_api.Page]) -> sync_api.Page:
    """The page as it opens."""
    return open_page()


@pytest.fixture
def shoot(request: pytest.FixtureRequest) -> Callable[[sync_api.Page, str], None]:
    """Takes a picture of a page, where a folder for them is named."""
    folder = os.environ.get("HISTOSEEK_SCREENSHOTS")

    def take(page: sync_api.Page, name: str) -> None:
        if folder:
            Path(folder).mkdir(parents=True, exist_ok=True)
            page.wait_for_timeout(600)  # tiles and thumbnails that are still under way
            page.screenshot(path=Path(folder) / f"{name}.png")

    return take


@pytest.fixture
def violations() -> Callable[[sync_api.Page], list[str]]:
    """What axe-core finds wrong on a page as it is now."""
    if not AXE.exists():
        pytest.skip("needs axe-core: python scripts/page_assets.py --tests")

    def look(page: sync_api.Page) -> list[str]:
        page.evaluate(AXE.read_text(encoding="utf-8"))
        found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
        return [
            f"{one['id']}: {one['help']}: {json.dumps([node['html'][:160] for node in one['nodes'][:3]])}"
            for one in found["violations"]
        ]

    return look
