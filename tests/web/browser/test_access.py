"""The page for everybody: without a mouse, with a screen reader, in the dark, with a key, when something is missing."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

import histoseek as hs
from histoseek.web.keys import add_key
from tests.conftest import write_archive
from tests.web.browser.conftest import serving

sync_api = pytest.importorskip("playwright.sync_api", reason="needs the Python package playwright")
from playwright.sync_api import Page, Route, expect  # noqa: E402

Violations = Callable[[Page], list[str]]
Opener = Callable[..., Page]
Shoot = Callable[[Page, str], None]
WORDS = "#q=%5B%7B%22t%22%3A%22gland%22%7D%5D"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_wrong(open_page: Opener, violations: Violations, shoot: Shoot, scheme: str) -> None:
    page = open_page(color_scheme=scheme, reduced_motion="reduce")  # colours on their way have other contrasts
    expect(page.get_by_role("heading", name="Which other tissue looks like this?")).to_be_visible()
    assert violations(page) == []
    page.keyboard.press("/")
    page.get_by_label("What should it show?").fill("gland")
    page.keyboard.press("Enter")
    expect(page.locator(".hit-open").first).to_be_visible()
    expect(page.locator(".hit-open").first).to_be_focused()
    page.keyboard.press("+")
    expect(page.locator("li.hit.is-plus")).to_have_count(1)
    page.keyboard.press("Enter")
    expect(page.locator(".context path.outline")).to_be_visible()
    shoot(page, f"all-{scheme}")
    assert violations(page) == []
    for key, name in (("c", "Side by side"), ("e", "Take away"), ("?", "Keyboard")):
        page.keyboard.press(key)
        expect(page.get_by_role("dialog", name=name)).to_be_visible()
        assert violations(page) == [], name
        assert all(page.locator("dialog kbd").all_inner_texts()), "a key without a name"
        page.keyboard.press("Escape")
    page.get_by_role("button", name="About this archive").click()
    expect(page.get_by_text("all: every search is exact")).to_be_visible()
    assert violations(page) == []
    page.keyboard.press("Escape")
    for name, shown in (("Slide", ".slide-view .viewer .scale-bar"), ("Map", ".legend")):
        page.get_by_role("tablist", name="What is shown").get_by_role("tab", name=name).click()
        expect(page.locator(shown)).to_contain_text(re.compile("µm|stroma"))
        shoot(page, f"{name.lower()}-{scheme}")
        assert violations(page) == [], name


def test_a_key_that_is_pressed_while_the_page_opens_counts(page: Page) -> None:
    page.add_init_script(
        "addEventListener('DOMContentLoaded', () =>"
        " document.body.dispatchEvent(new KeyboardEvent('keydown', {key: '/', bubbles: true})))"
    )
    page.reload()
    expect(page.get_by_label("What should it show?")).to_be_visible()


def test_one_card_has_the_tab_stop_and_arrows_move_it(open_page: Opener) -> None:
    page = open_page(WORDS)
    expect(page.locator(".hit-open").first).to_be_visible()
    assert page.locator(".hit-open[tabindex='0']").count() == 1
    page.locator(".hit-open").first.focus()
    page.keyboard.press("ArrowDown")
    tops = [box["y"] for one in page.locator(".hit-open").all() if (box := one.bounding_box())]
    below = next(place for place, top in enumerate(tops) if top > tops[0] + 4)
    expect(page.locator(".hit-open").nth(below)).to_be_focused()
    page.keyboard.press("ArrowUp")
    expect(page.locator(".hit-open").first).to_be_focused()
    page.keyboard.press("End")
    expect(page.locator(".hit-open").last).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name=re.compile("is relevant")).last).to_be_focused()


def test_targets_are_at_least_24_pixels(open_page: Opener) -> None:
    page = open_page(WORDS)
    expect(page.locator(".hit-open").first).to_be_visible()
    small = page.evaluate(
        """() => [...document.querySelectorAll('button, select, summary, label.switch, label.value')]
          .map((one) => [one, one.getBoundingClientRect()])
          .filter(([, box]) => box.width && (box.width < 24 || box.height < 24))
          .map(([one, box]) => `${one.className} ${one.textContent} ${box.width}×${box.height}`)"""
    )
    assert small == []


def test_research_use_only_stands_there_at_every_width(open_page: Opener, shoot: Shoot) -> None:
    for width in (1600, 1280, 800, 400):
        page = open_page(WORDS, viewport={"width": width, "height": 900})
        expect(page.locator(".hit-open").first).to_be_visible()
        expect(page.locator(".top .ruo")).to_be_in_viewport()
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"scrolls sideways at {width}"
        shoot(page, f"width-{width}")


def test_a_narrow_screen_goes_to_what_came(open_page: Opener, shoot: Shoot) -> None:
    page = open_page(viewport={"width": 390, "height": 844})
    page.get_by_role("tab", name="Words").click()
    expect(page.locator(".filter").first).to_be_hidden()
    page.get_by_label("What should it show?").fill("gland")
    page.get_by_role("button", name="Search", exact=True).click()
    expect(page.locator(".hit-open").first).to_be_in_viewport()
    shoot(page, "narrow-hits")
    page.get_by_role("button", name="Hit 1 in its slide").click()
    expect(page.locator(".context .viewer-scale")).to_be_in_viewport(ratio=1)
    shoot(page, "narrow-context")
    page.get_by_role("button", name="Close the context").click()
    expect(page.locator(".hit-open").first).to_be_focused()
    expect(page.locator(".hit-open").first).to_be_in_viewport()
    page.get_by_role("tab", name="Map").click()
    expect(page.locator(".legend")).to_contain_text("stroma")
    surface, legend = page.locator(".map").bounding_box(), page.locator(".legend").bounding_box()
    assert surface is not None
    assert legend is not None
    assert surface["width"] > 340
    assert legend["y"] >= surface["y"] + surface["height"]
    shoot(page, "narrow-map")


def test_nothing_is_cut_off_at_a_middling_width(open_page: Opener, shoot: Shoot) -> None:
    page = open_page(WORDS, viewport={"width": 1024, "height": 768})
    page.get_by_role("button", name="Hit 1 in its slide").click()
    scale, context = page.locator(".context .viewer-scale"), page.locator(".context")
    expect(scale).to_contain_text("µm")
    expect(scale).to_be_in_viewport(ratio=1)
    for zone in (".ask", ".context"):
        assert page.evaluate(f"(one => one.scrollWidth <= one.clientWidth)(document.querySelector('{zone}'))"), zone
    inner, outer = scale.bounding_box(), context.bounding_box()
    assert inner is not None
    assert outer is not None
    assert inner["y"] + inner["height"] <= outer["y"] + outer["height"]
    shoot(page, "middling")


def test_a_list_of_slides_that_does_not_come_is_told_and_asked_for_again(
    open_page: Opener, refusals: list[str]
) -> None:
    refusals.append("api/v1/slides")
    page = open_page()
    answers = [503, 503, 503]

    def refuse(route: Route) -> None:
        if not answers:
            return route.continue_()
        return route.fulfill(status=answers.pop(), headers={"Retry-After": "1"}, json={"title": "Not ready"})

    page.route("**/api/v1/slides", refuse)
    page.reload()
    told = page.get_by_role("alert")
    expect(told).to_contain_text("No list of slides")
    page.get_by_role("tab", name="Slide").click()
    expect(page.get_by_text("The list of slides did not come.")).to_be_visible()
    told.get_by_role("button", name="Try again").click()
    expect(page.locator(".slide-button").first).to_be_visible()
    expect(told).to_have_count(0)
    assert answers == []


def test_what_failed_is_what_is_tried_again(open_page: Opener, refusals: list[str]) -> None:
    refusals.extend(["api/v1/map", "api/v1/heat", "api/v1/export"])
    page = open_page(WORDS)
    expect(page.locator(".hit-open").first).to_be_visible()
    views, told = page.get_by_role("tablist", name="What is shown"), page.get_by_role("alert")

    def refused_once(path: str) -> None:
        problem = {"title": "Not ready", "detail": "the archive is being opened"}
        page.route(path, lambda route: route.fulfill(status=503, json=problem), times=1)

    refused_once("**/api/v1/map")
    views.get_by_role("tab", name="Map").click()
    expect(told).to_contain_text("No map")
    told.get_by_role("button", name="Try again").click()
    expect(page.locator(".legend")).to_be_visible()
    refused_once("**/api/v1/heat")
    views.get_by_role("tab", name="Slide").click()
    page.get_by_text("Heat of the question").click()
    expect(told).to_contain_text("No heat map")
    told.get_by_role("button", name="Try again").click()
    expect(page.locator(".heat-key")).to_be_visible()
    refused_once("**/api/v1/export*")
    page.keyboard.press("e")
    page.locator("[data-format=csv]").click()
    expect(told).to_contain_text("the archive is being opened")
    with page.expect_download():
        told.get_by_role("button", name="Try again").click()
    expect(told).to_have_count(0)


def test_the_theme_that_was_chosen_stays(open_page: Opener) -> None:
    page = open_page(color_scheme="light")
    expect(page.get_by_role("heading", name="Which other tissue")).to_be_visible()
    page.get_by_label("Light or dark").select_option("dark")
    colour = "getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(colour)
    page.reload()
    assert page.evaluate(colour) == dark
    page.get_by_label("Light or dark").select_option("system")
    assert page.evaluate(colour) != dark


def test_an_archive_without_words_map_or_slides_says_so(
    open_page: Opener, tmp_path: Path, violations: Violations, shoot: Shoot
) -> None:
    (tmp_path / "pictures").mkdir()
    encoder = hs.load_encoder("color")
    index = hs.Index.build(write_archive(tmp_path / "pictures"), encoder, tmp_path / "x.index")
    assert not index.about.has_text
    with serving(tmp_path / "x.index", "--audit-log", str(tmp_path / "audit.jsonl")) as url:
        page = open_page(url=url)
        page.get_by_role("tab", name="Words").click()
        expect(page.get_by_text("This archive cannot be asked in words.")).to_be_visible()
        shoot(page, "no-words")
        page.get_by_role("tab", name="Slide").click()
        expect(page.get_by_text("No slide of this archive can be opened here.")).to_be_visible()
        expect(page.get_by_role("tab", name="Map")).to_have_count(0)
        page.get_by_role("tab", name="Picture").click()
        page.locator("#picture").set_input_files(tmp_path / "pictures" / "p0_0.png")
        page.get_by_role("button", name="not known").click()
        expect(page.locator(".hit-open").first).to_be_focused()
        page.keyboard.press("Enter")
        expect(page.get_by_role("complementary", name="Context of a hit")).to_contain_text("A picture on its own")
        shoot(page, "pictures-only")
        assert violations(page) == []


def test_a_key_is_asked_for_where_the_server_wants_one(
    open_page: Opener, tmp_path: Path, violations: Violations, refusals: list[str], shoot: Shoot
) -> None:
    (tmp_path / "pictures").mkdir()
    hs.Index.build(write_archive(tmp_path / "pictures"), hs.load_encoder("color"), tmp_path / "x.index")
    key, _ = add_key(tmp_path / "keys.json", "read")
    options = ("--api-key-file", str(tmp_path / "keys.json"), "--audit-log", str(tmp_path / "audit.jsonl"))
    refusals.append("status of 401")
    with serving(tmp_path / "x.index", *options) as url:
        page = open_page(url=url)
        page.get_by_label("Key").fill("wrong")
        page.get_by_role("button", name="Open the archive").click()
        expect(page.get_by_role("alert")).not_to_be_empty()
        shoot(page, "login")
        assert violations(page) == []
        sign_in(page, key)
        expect(page.get_by_role("heading", name="Which other tissue looks like this?")).to_be_visible()

        page.locator("#picture").set_input_files(tmp_path / "pictures" / "p0_0.png")
        page.get_by_role("button", name="not known").click()
        expect(page.locator(".hit-open").first).to_be_focused()
        page.keyboard.press("+")
        expect(page.locator("li.hit.is-plus")).to_have_count(1)
        page.context.clear_cookies()
        page.get_by_text("Hide near-duplicates").click()
        expect(page.get_by_label("Key")).to_be_focused()
        sign_in(page, key)
        expect(page.locator("li.hit.is-plus")).to_have_count(1)
        expect(page.locator(".example")).to_contain_text("p0_0.png")
        expect(page.get_by_role("alert")).to_have_count(0)
        expect(page.get_by_role("switch", name="Hide near-duplicates")).not_to_be_checked()

        page.get_by_role("button", name="Sign out").click()
        expect(page.get_by_label("Key")).to_be_visible()
        page.reload()
        sign_in(page, key)
        expect(page.get_by_role("heading", name="Which other tissue looks like this?")).to_be_visible()
        expect(page.locator(".question")).to_have_count(0)


def sign_in(page: Page, key: str) -> None:
    page.get_by_label("Key").fill(key)
    page.get_by_role("button", name="Open the archive").click()


def test_a_server_that_went_away_is_a_sentence(
    open_page: Opener, home: Path, tmp_path: Path, refusals: list[str]
) -> None:
    refusals.append("ERR_CONNECTION_REFUSED")
    started = serving(home / "drawn.index", "--audit-log", str(tmp_path / "audit.jsonl"))
    url = started.__enter__()
    page = open_page(url=url)
    expect(page.get_by_role("heading", name="Which other tissue looks like this?")).to_be_visible()
    started.__exit__()
    page.keyboard.press("/")
    page.get_by_label("What should it show?").fill("gland")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("The server does not answer")
