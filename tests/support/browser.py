"""Chromium, driven by Playwright: the system's own, never one that a test downloads."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from typing import TYPE_CHECKING

from tests.support.processes import ROOT, ServerDidNotStartError

if TYPE_CHECKING:
    from playwright.sync_api import Browser

#: Quiet and contained: no sandbox of its own (root cannot have one), no calls home.
CHROMIUM_ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--font-render-hinting=none",
)


def find_chromium() -> str:
    """The browser that `bin/bootstrap dev` found or installed; `CHROMIUM` names another.

    Raises:
        ServerDidNotStartError: there is none.
    """
    stamp = ROOT / ".tools" / "stamps" / "browser"
    remembered = stamp.read_text(encoding="utf-8").strip() if stamp.exists() else None
    for candidate in (os.environ.get("CHROMIUM"), remembered, "chromium", "google-chrome"):
        if candidate and (found := shutil.which(candidate)):
            return found
    raise ServerDidNotStartError("no Chromium: run bin/bootstrap dev, or name one in CHROMIUM")


@contextlib.contextmanager
def open_chromium() -> Iterator[Browser]:
    """A headless browser with an empty profile; `browser.new_page(base_url=...)` opens a page."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=find_chromium(), headless=True, args=list(CHROMIUM_ARGUMENTS)
        )
        try:
            yield browser
        finally:
            browser.close()
