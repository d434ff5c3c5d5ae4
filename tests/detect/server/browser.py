"""A real Chromium, and a page of it whose every request and complaint is noted."""

import base64
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from playwright.sync_api import Browser, JSHandle, Locator, Page, expect, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
PATIENCE_MS = 20_000
"""How long a page has to show what is expected: other tests may keep the processors busy."""
FILES = """files => {
  const transfer = new DataTransfer();
  for (const [name, text] of files)
    transfer.items.add(new File([Uint8Array.from(atob(text), c => c.charCodeAt(0))], name));
  return transfer;
}"""
CONTRASTS = """() => {
  const parse = text => (text.match(/[\\d.]+/g) ?? []).map(Number);
  const light = ([r, g, b]) => {
    const part = v => (v / 255 <= 0.04045 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4);
    return 0.2126 * part(r) + 0.7152 * part(g) + 0.0722 * part(b);
  };
  const behind = element => {
    for (let one = element; one; one = one.parentElement) {
      const color = parse(getComputedStyle(one).backgroundColor);
      if (color.length === 3 || color[3] === 1) return color;
    }
    return [255, 255, 255];
  };
  const own = element => [...element.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
  return [...document.querySelectorAll("body *")].filter(e => own(e) && e.checkVisibility()).map(e => {
    const [a, b] = [light(parse(getComputedStyle(e).color)), light(behind(e))];
    return [e.textContent.trim().slice(0, 40), (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05)];
  });
}"""


def find_chromium() -> str | None:
    """The program that drives the tests: $CHROMIUM, or the first on the path."""
    return os.environ.get("CHROMIUM") or next((path for name in NAMES if (path := shutil.which(name))), None)


@contextmanager
def open_browser(program: str) -> Iterator[Browser]:
    """A browser without a window."""
    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


@dataclass
class Visit:
    """A page of the service.

    Attributes:
        page: Playwright's.
        requests: Addresses of all requests of the page.
        complaints: What its console and its scripts complained of.
    """

    page: Page
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    @property
    def cards(self) -> Locator:
        return self.page.locator("#cards > li")

    def files(self, **files: bytes) -> list[list[str]]:
        return [[name, base64.b64encode(data).decode()] for name, data in files.items()]

    def transfer(self, files: dict[str, bytes]) -> JSHandle:
        """What a drop or a paste carries."""
        return self.page.evaluate_handle(FILES, self.files(**files))

    def drop(self, files: dict[str, bytes]) -> None:
        """Drop files on the page."""
        transfer = self.transfer(files)
        self.page.dispatch_event("body", "dragover", {"dataTransfer": transfer})
        self.page.dispatch_event("body", "drop", {"dataTransfer": transfer})

    def paste(self, files: dict[str, bytes]) -> None:
        """Paste files into the page."""
        paste = "data => document.dispatchEvent(new ClipboardEvent('paste', {clipboardData: data, cancelable: true}))"
        self.page.evaluate(paste, self.transfer(files))

    def contrasts(self) -> dict[str, float]:
        """Text → its contrast with what is behind it, for all text that is seen."""
        return dict(self.page.evaluate(CONTRASTS))

    def is_as_wide_as_the_window(self) -> bool:
        return bool(self.page.evaluate("document.documentElement.scrollWidth <= innerWidth"))

    def style(self, selector: str, name: str) -> str:
        """A computed style."""
        return str(self.page.eval_on_selector(selector, "(e, name) => getComputedStyle(e)[name]", name))


@contextmanager
def visit(browser: Browser, address: str, **options: Any) -> Iterator[Visit]:
    """Open an address; requests of another host and complaints fail the test in the end."""
    context = browser.new_context(**options)
    page = context.new_page()
    visited = Visit(page)
    context.on("request", lambda request: visited.requests.append(request.url))
    page.on("pageerror", lambda error: visited.complaints.append(str(error)))
    page.on("console", lambda message: visited.complaints.append(message.text) if message.type == "error" else None)
    page.on("filechooser", lambda chooser: None)  # from the start: a window of the system would stay open
    page.goto(address)
    try:
        yield visited
        foreign = [url for url in visited.requests if not url.startswith((address, "blob:" + address.rstrip("/")))]
        assert foreign == []
        # The browser itself notes each answer of 4xx and 5xx.
        assert [text for text in visited.complaints if "the server responded with a status of" not in text] == []
    finally:
        context.close()
