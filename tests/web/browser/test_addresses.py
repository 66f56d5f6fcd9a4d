"""Questions in the page's address: links, and the browser's Back and Forward."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

sync_api = pytest.importorskip("playwright.sync_api", reason="needs the Python package playwright")
from playwright.sync_api import Page, expect  # noqa: E402

from tests.web.browser.asking import PASTE, ask_words, bring, hits, ids  # noqa: E402


def test_a_permalink_asks_the_same_again(open_page: Callable[..., Page]) -> None:
    page = open_page()
    ask_words(page, "mucin")
    expect(hits(page).first).to_be_focused()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("m")
    expect(page.locator(".example")).to_contain_text("Item")
    expect(page).to_have_url(re.compile("i%22"))
    expect(page.locator(".hits.is-busy")).to_have_count(0)
    expect(hits(page).first).to_be_focused()
    found = ids(page)
    fragment = page.url.partition("#")[2]
    again = open_page("#" + fragment)
    expect(hits(again).first).to_be_visible()
    assert ids(again) == found
    again.get_by_role("button", name="Clear").click()
    expect(hits(again)).to_have_count(0)
    again.evaluate("fragment => location.hash = fragment", fragment)
    expect(hits(again).first).to_be_visible()
    assert ids(again) == found


def test_a_permalink_takes_the_marks_along(open_page: Callable[..., Page]) -> None:
    page = open_page()
    ask_words(page, "gland")
    expect(hits(page).first).to_be_focused()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("-")
    expect(page.locator(".changed")).to_be_visible()
    expect(page.locator(".hit-open[aria-current]")).to_be_focused()
    page.keyboard.press("Home")
    page.keyboard.press("+")
    expect(page).to_have_url(re.compile("m=.*-1.*"))
    expect(page.locator("li.hit.is-plus")).to_have_count(1)
    expect(page.locator(".hits.is-busy")).to_have_count(0)
    found = ids(page)
    again = open_page("#" + page.url.partition("#")[2])
    expect(again.locator("li.hit.is-plus")).to_have_count(1)
    assert ids(again) == found


def test_an_address_that_changes_asks_anew(page: Page) -> None:
    ask_words(page, "mucin")
    first = page.url.partition("#")[2]
    page.get_by_role("button", name="Clear").click()
    expect(page.get_by_role("heading", name="Which other tissue looks like this?")).to_be_visible()
    page.evaluate("fragment => { location.hash = fragment }", first)
    expect(hits(page).first).to_be_visible()
    expect(page.locator(".example")).to_contain_text("mucin")


def test_back_and_forward_ask_the_questions_of_then(page: Page, pictures: dict[str, Path]) -> None:
    welcome = page.get_by_role("heading", name="Which other tissue looks like this?")
    expect(welcome).to_be_visible()
    bring(page, PASTE, pictures["scaled"])
    expect(hits(page).first).to_be_visible()
    hits(page).first.click()
    page.keyboard.press("+")
    expect(page.locator(".changed")).to_be_visible()
    expect(page.locator("li.hit.is-plus")).to_have_count(1)
    marked = ids(page)
    page.keyboard.press("m")
    expect(page.locator(".example")).to_contain_text("Item")
    expect(hits(page).first).to_be_focused()
    page.go_back()
    expect(page.locator(".example")).to_contain_text("scaled.png")
    expect(page.locator("li.hit.is-plus")).to_have_count(1)
    assert ids(page) == marked
    page.go_back()
    expect(welcome).to_be_visible()
    page.go_forward()
    expect(page.locator("li.hit.is-plus")).to_have_count(1)
    assert ids(page) == marked
