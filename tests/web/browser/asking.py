"""How the tests ask, and what they find on the page."""

from __future__ import annotations

from pathlib import Path

import pytest

sync_api = pytest.importorskip("playwright.sync_api", reason="needs the Python package playwright")
from playwright.sync_api import Locator, Page, expect  # noqa: E402

DROP = """async ([name, bytes]) => {
  const file = new File([new Uint8Array(bytes)], name, {type: 'image/png'});
  const carried = new DataTransfer();
  carried.items.add(file);
  for (const kind of ['dragover', 'drop']) {
    document.body.dispatchEvent(new DragEvent(kind, {bubbles: true, cancelable: true, dataTransfer: carried}));
  }
}"""
PASTE = """async ([name, bytes]) => {
  const file = new File([new Uint8Array(bytes)], name, {type: 'image/png'});
  const carried = new DataTransfer();
  carried.items.add(file);
  document.body.dispatchEvent(new ClipboardEvent('paste', {bubbles: true, clipboardData: carried}));
}"""


def hits(page: Page) -> Locator:
    return page.locator(".hit-open")


def ids(page: Page) -> list[str]:
    return [str(one.get_attribute("data-id")) for one in hits(page).all()]


def ask_words(page: Page, words: str) -> None:
    page.keyboard.press("/")
    page.get_by_label("What should it show?").fill(words)
    page.keyboard.press("Enter")
    expect(hits(page).first).to_be_visible()


def bring(page: Page, how: str, picture: Path) -> None:
    page.evaluate(how, [picture.name, list(picture.read_bytes())])
