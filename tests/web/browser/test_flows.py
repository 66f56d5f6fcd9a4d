"""What a pathologist does: ask, look, refine, take away."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

sync_api = pytest.importorskip("playwright.sync_api", reason="needs the Python package playwright")
from playwright.sync_api import Locator, Page, expect  # noqa: E402

from tests.web.browser.asking import DROP, PASTE, ask_words, bring, hits, ids  # noqa: E402
from tests.web.browser.conftest import WAIT_MS  # noqa: E402

Shoot = Callable[[Page, str], None]


def wait_until(page: Page, is_so: Callable[[], bool]) -> None:
    """Look again and again; the page's CSP forbids Playwright's own wait_for_function."""
    for _ in range(WAIT_MS // 100):
        if is_so():
            return
        page.wait_for_timeout(100)
    raise AssertionError(f"it did not become so: {page.locator('.viewer-scale').all_inner_texts()}")


def is_in_the_middle(inner: Locator, outer: Locator) -> bool:
    small, large = inner.bounding_box(), outer.bounding_box()
    if small is None or large is None:  # drawn anew just now
        return False
    middles = [(one["x"] + one["width"] / 2, one["y"] + one["height"] / 2) for one in (small, large)]
    is_large_enough = 0.2 < small["width"] / large["width"] < 0.5
    return is_large_enough and all(abs(a - b) < 8 for a, b in zip(*middles, strict=True))


def at_rest(page: Page, path: Locator) -> str | None:
    """The outline of a shape, once a viewer that moves towards it has arrived: seven looks alike."""
    seen: list[str | None] = []

    def stays() -> bool:
        seen.append(path.get_attribute("d"))
        return len(seen) > 6 and len(set(seen[-7:])) == 1

    wait_until(page, stays)
    return seen[-1]


def test_a_dropped_picture_is_asked_looked_at_compared_refined_and_taken_away(
    page: Page, pictures: dict[str, Path], shoot: Shoot
) -> None:
    expect(page.get_by_role("heading", name="Which other tissue looks like this?")).to_be_visible()
    shoot(page, "welcome")
    bring(page, DROP, pictures["unscaled"])
    expect(page.get_by_label("How large is a pixel?")).to_be_visible()
    shoot(page, "scale-asked")
    page.get_by_role("button", name="Search", exact=True).click()
    expect(page.get_by_text("Give a number from 0.05 to 20")).to_be_visible()
    page.get_by_role("button", name=re.compile(r"^0\.5\b")).click()
    page.get_by_role("button", name="Search", exact=True).click()
    expect(hits(page).first).to_be_visible()
    expect(hits(page).first).to_have_accessible_name(
        re.compile(r"^Hit 1 (close )?score 0\.\d+ dysplastic gland by an expert S-\w+ · P-\w+")
    )
    expect(page.get_by_role("status")).to_have_text(re.compile(r"\d+ hits, the first scores"))
    expect(page.get_by_label("Labels of the hits")).to_contain_text(
        re.compile(r"right in \d+ % \(\d+–\d+ %\) of \d+ held-out queries of \d patients")
    )
    expect(page.locator(".weak-line")).to_contain_text("Not similar enough")
    expect(page.locator(".closeness").first).to_have_text("close")
    shoot(page, "hits")

    expect(hits(page).first).to_be_focused()
    page.keyboard.press("ArrowRight")
    expect(hits(page).nth(1)).to_be_focused()
    page.keyboard.press("Enter")
    context = page.get_by_role("complementary", name="Context of a hit")
    expect(context.get_by_role("heading", name="Hit 2 in context")).to_be_visible()
    expect(context.locator("path.outline.is-active")).to_be_visible()
    expect(context.locator(".viewer .scale-bar")).to_have_text(re.compile(r"µm"))
    shoot(page, "context")
    wait_until(page, lambda: is_in_the_middle(context.locator("path.outline.is-active"), context.locator(".viewer")))

    context.locator(".viewer").click()
    outline = at_rest(page, context.locator("path.outline.is-active"))
    for key in ("r", "f", "Shift+R"):
        page.keyboard.press(key)
        page.wait_for_timeout(150)
    assert context.locator("path.outline.is-active").get_attribute("d") == outline, "the slide is turned or mirrored"
    page.keyboard.press("Escape")
    expect(context).to_have_count(0)
    expect(hits(page).nth(1)).to_be_focused()

    page.keyboard.press("c")
    dialog = page.get_by_role("dialog", name="Side by side")
    expect(dialog.locator("path.outline.is-active")).to_be_visible()
    scales = dialog.locator(".viewer-mag")
    expect(scales).to_have_count(2)
    expect(scales.first).to_have_text(re.compile("×"))
    before = scales.first.inner_text()
    dialog.get_by_role("button", name="Zoom in").first.click()
    expect(scales.first).not_to_have_text(before)
    expect(scales.nth(1)).to_have_text(scales.first.inner_text())
    shoot(page, "compare")
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)

    order = ids(page)
    expect(page.locator(".uncalibrated")).to_have_count(0)
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("-")
    expect(page.locator(".changed")).to_be_visible()
    expect(page.get_by_role("button", name="Take away the mark not relevant")).to_be_visible()
    wait_until(page, lambda: ids(page) != order)
    expect(page.locator(".uncalibrated")).to_contain_text("not calibrated")
    expect(page.locator(".hit-open[aria-current]")).to_be_focused()
    page.keyboard.press("Home")
    page.keyboard.press("+")
    expect(page.locator("li.hit.is-plus")).to_have_count(1)
    expect(page.locator(".hit-open[aria-current]")).to_be_focused()
    shoot(page, "refined")
    page.keyboard.press("u")
    expect(page.locator("li.hit.is-plus")).to_have_count(0)
    page.keyboard.press("u")
    expect(page.locator("li.hit.is-minus")).to_have_count(0)
    wait_until(page, lambda: ids(page) == order)

    page.keyboard.press("e")
    expect(page.get_by_role("dialog", name="Take away")).to_be_visible()
    expect(page.get_by_text("There is no link to this question")).to_be_visible()
    expect(page.get_by_label("Link to this question")).to_have_count(0)
    shoot(page, "take-away")
    with page.expect_download() as saved:
        page.locator("[data-format=csv]").click()
    rows = Path(saved.value.path()).read_text(encoding="utf-8").splitlines()
    assert len(rows) == len(order) + 1
    assert order[0] in rows[1]


def test_the_question_goes_on_as_files_that_other_programs_read(page: Page, home: Path) -> None:
    ask_words(page, "solid tumour")
    found = ids(page)
    expect(hits(page).first).to_be_focused()
    page.keyboard.press("e")
    assert len(page.get_by_label("Link to this question").input_value()) < 200
    saved = {}
    for name in ("parquet", "geojson", "sheet", "session"):
        button = page.locator(f"[data-format={name}]")
        with page.expect_download() as download:
            button.click()
        saved[name] = Path(download.value.path()).read_bytes()
        expect(button).to_be_enabled()
    assert pq.read_table(io.BytesIO(saved["parquet"]))["id"].to_pylist() == found
    with zipfile.ZipFile(io.BytesIO(saved["geojson"])) as archive:
        assert all(json.loads(archive.read(name))["features"] for name in archive.namelist() if "geojson" in name)
    assert saved["sheet"].startswith(b"\x89PNG")
    session = home / "saved-session.json"
    session.write_bytes(saved["session"])
    command = [
        sys.executable,
        "-m",
        "histoseek",
        "search",
        str(home / "drawn.index"),
        "--session",
        str(session),
        "--json",
    ]
    replayed = subprocess.run(command, capture_output=True, text=True, check=True)
    shown = [line for line in replayed.stdout.splitlines() if line.startswith("{")]
    assert len(shown) == len(found)


def test_a_picture_that_states_its_scale_is_asked_at_once_when_pasted(page: Page, pictures: dict[str, Path]) -> None:
    expect(page.get_by_role("heading", name="Which other tissue looks like this?")).to_be_visible()
    bring(page, PASTE, pictures["scaled"])
    expect(hits(page).first).to_be_visible()
    expect(page.locator(".example")).to_contain_text("0.5 µm/px")


def test_a_blank_picture_is_warned_of_and_still_asked(page: Page, pictures: dict[str, Path], shoot: Shoot) -> None:
    page.locator("#picture").set_input_files(pictures["blank"])
    expect(page.get_by_text(re.compile("looks blank: 100 %"))).to_be_visible()
    shoot(page, "blank")
    page.get_by_role("button", name="not known").click()
    expect(page.locator(".hits .warning").first).to_contain_text("blank")


def test_a_file_that_is_no_picture_is_refused_in_a_sentence(page: Page, tmp_path: Path, refusals: list[str]) -> None:
    refusals.append("status of 415")
    note = tmp_path / "note.png"
    note.write_text("not a picture at all", encoding="utf-8")
    page.locator("#picture").set_input_files(note)
    expect(page.locator(".pending")).not_to_contain_text("The server can read it")
    page.get_by_role("button", name="not known").click()
    expect(page.get_by_role("alert")).to_contain_text(re.compile("picture|image|format", re.I))
    with page.expect_request(re.compile("search/image")):
        page.get_by_role("alert").get_by_role("button", name="Try again").click()


def test_a_box_on_a_slide_finds_hits(page: Page, shoot: Shoot) -> None:
    page.get_by_role("tab", name="Slide").first.click()
    page.locator(".slide-button").first.click()
    viewer = page.locator(".slide-view .viewer")
    expect(viewer.locator(".scale-bar")).to_have_text(re.compile("µm"))
    drag(page, viewer, (0.3, 0.3), (0.5, 0.55))
    expect(hits(page).first).to_be_visible()
    expect(page.locator(".example")).to_contain_text("box on a slide")
    page.get_by_role("tablist", name="What is shown").get_by_role("tab", name="Slide").click()
    expect(page.locator("path.is-asked")).to_be_visible()
    page.get_by_text("Heat of the question").click()
    expect(page.locator(".heat-key")).to_contain_text(re.compile(r"-?\d\.\d\d"))
    shoot(page, "heat")


def drag(page: Page, on: Locator, start: tuple[float, float], end: tuple[float, float]) -> None:
    box = on.bounding_box()
    assert box is not None
    places = [(box["x"] + box["width"] * x, box["y"] + box["height"] * y) for x, y in (start, end)]
    page.mouse.move(*places[0])
    page.mouse.down()
    page.mouse.move(*places[1], steps=8)
    page.mouse.up()


def test_a_polygon_and_the_view_ask_as_well(page: Page) -> None:
    page.get_by_role("tab", name="Slide").first.click()
    page.locator(".slide-button").nth(1).click()
    page.get_by_text("Polygon", exact=True).click()
    viewer = page.locator(".slide-view .viewer")
    expect(viewer.locator(".scale-bar")).to_have_text(re.compile("µm"))
    box = viewer.bounding_box()
    assert box is not None
    for x, y in ((0.35, 0.35), (0.6, 0.4), (0.5, 0.6)):
        page.mouse.click(box["x"] + box["width"] * x, box["y"] + box["height"] * y)
        page.wait_for_timeout(400)  # two clicks at once would be a double click
    page.mouse.click(box["x"] + box["width"] * 0.35, box["y"] + box["height"] * 0.35)
    expect(hits(page).first).to_be_visible()
    expect(page.locator(".example")).to_contain_text("polygon on a slide")
    page.get_by_role("tablist", name="What is shown").get_by_role("tab", name="Slide").click()
    page.get_by_role("button", name="10×", exact=True).click()
    page.wait_for_timeout(800)
    page.get_by_role("button", name="Ask with this view").click()
    expect(page.locator(".example")).to_contain_text("View of S-")


def test_words_find_hits_and_filters_narrow_them(page: Page, shoot: Shoot) -> None:
    ask_words(page, "fat cells")
    assert len(ids(page)) > 3
    shoot(page, "words")
    page.locator(".value", has_text="gland").first.click()
    expect(page.get_by_text("1 chosen")).to_be_visible()
    expect(page.locator(".hit-label").first).to_contain_text("gland")
    assert {one.inner_text() for one in page.locator(".hit-label").all()} <= {"gland", "dysplastic gland"}
    assert "f=" in page.url
    assert "fat" in page.url
    page.get_by_label("at most").select_option("1")
    expect(page.locator(".hits-count")).to_contain_text(re.compile(r"^[12] hits?"))
    expect(page.locator(".too-few")).to_have_text(
        re.compile(r"^[12] of 25: no more items keep to all of: at most 1 a slide \(.* that many\).*; one filter\.")
    )


def test_several_examples_with_plus_and_minus(page: Page) -> None:
    ask_words(page, "gland")
    page.get_by_text("adds −").click()
    page.get_by_label("What should it show?").fill("necrosis")
    page.get_by_role("button", name="Search", exact=True).click()
    expect(page.locator(".example.minus")).to_have_count(1)
    page.locator(".example.minus .sign").click()
    expect(page.locator(".example.minus")).to_have_count(0)
    page.get_by_role("button", name="Remove “necrosis”").click()
    expect(page.locator(".example")).to_have_count(1)
    page.get_by_role("button", name="Clear").click()
    expect(page.get_by_role("heading", name="Which other tissue looks like this?")).to_be_visible()


def test_what_is_no_number_is_told_beside_its_field(page: Page) -> None:
    ask_words(page, "gland")
    page.locator(".filter summary", has_text="Tissue").click()
    least = page.get_by_label("Tissue from")
    least.fill("abc")
    page.keyboard.press("Enter")
    expect(least).to_have_attribute("aria-invalid", "true")
    expect(least).to_have_value("abc")
    expect(page.get_by_text("Give a number, such as 0.5")).to_be_visible()
    assert "f=" not in page.url
    least.fill("0.9")
    page.keyboard.press("Enter")
    expect(least).to_have_attribute("aria-invalid", "false")
    expect(page).to_have_url(re.compile("f=.*0.9"))
    expect(page.get_by_text("Give a number")).to_have_count(0)


def test_the_map_shows_chooses_and_filters(page: Page, shoot: Shoot) -> None:
    ask_words(page, "gland")
    page.get_by_role("tab", name="Map").click()
    legend = page.locator(".legend")
    expect(legend).to_contain_text("stroma")
    expect(page.locator(".slide-bar")).to_contain_text("t-SNE of all items")
    shoot(page, "map")
    page.get_by_role("button", name="Zoom out").click()
    page.keyboard.press("-")
    page.get_by_label("at most").select_option("1")
    expect(page.locator(".hits.is-busy")).to_have_count(0)
    expect(page.get_by_role("tab", name="Map")).to_have_attribute("aria-selected", "true")
    expect(page.locator(".marks")).to_have_count(0)
    page.get_by_text("Lasso", exact=True).click()
    surface = page.locator(".map-over")
    box = surface.bounding_box()
    assert box is not None
    corners = [(0.02, 0.02), (0.98, 0.02), (0.98, 0.6), (0.02, 0.6)]
    places = [(box["x"] + box["width"] * x, box["y"] + box["height"] * y) for x, y in corners]
    page.mouse.move(*places[0])
    page.mouse.down()
    for place in places[1:]:
        page.mouse.move(*place, steps=6)
    page.mouse.up()
    expect(page.locator(".chosen-items")).to_contain_text("inside the lasso")
    page.get_by_role("button", name="Choose none").click()
    legend.get_by_role("button", name=re.compile("stroma")).click()
    expect(page.locator(".chosen-items")).to_contain_text("label stroma")
    page.get_by_role("button", name="List").click()
    expect(page.locator(".chosen-list li").first).to_be_visible()
    page.get_by_role("button", name="Search only these").click()
    expect(page.get_by_text(re.compile(r"^\d+ items chosen on the map$"))).to_be_visible()
    expect(page.locator(".hit-label").first).to_contain_text("stroma")
    assert {one.inner_text() for one in page.locator(".hit-label").all()} == {"stroma"}
    page.get_by_role("button", name="All items").click()
    expect(page.get_by_text(re.compile(r"^\d+ items chosen on the map$"))).to_have_count(0)
