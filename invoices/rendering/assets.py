"""The only things that a template may load: our own files, under an address that does not exist."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, Final

from weasyprint.urls import URLFetcher, URLFetcherResponse

from billing_worker.core.errors import BillingError
from invoices.brand import ASSETS_DIR
from invoices.rendering.fonts import find_fonts

BASE_URL: Final = "https://assets.invalid/"
_TYPES: Final = {".svg": "image/svg+xml", ".ttf": "font/ttf", ".png": "image/png"}


class ForeignAsset(BillingError):
    """A document asked for something that is not ours. Nothing was fetched; look where the address came from."""

    code = "foreign_asset"


class AssetFetcher(URLFetcher):
    """Serves `https://assets.invalid/...` from the project and `data:` from itself; opens no socket and no other file.

    `refused` collects what was asked for and denied, so that a render can fail for it.
    """

    def __init__(self) -> None:
        super().__init__(allowed_protocols={"data"}, allow_redirects=False, fail_on_errors=True)
        self.refused: list[str] = []

    def fetch(self, url: str, headers: Any = None) -> Any:
        if url.startswith("data:"):
            return super().fetch(url, headers)
        if url.startswith(BASE_URL):
            name = url.removeprefix(BASE_URL)
            path = _find_assets().get(name)
            if path is not None:
                return URLFetcherResponse(url, path.read_bytes(), {"Content-Type": _TYPES[path.suffix]})
        self.refused.append(url[:200])
        raise ForeignAsset(f"a document may not load {url[:200]!r}")


@cache
def _find_assets() -> dict[str, Path]:
    """Every servable file by its path below the base address: an allow-list, so no path can climb out of it."""
    files = {f"assets/{path.name}": path for path in ASSETS_DIR.iterdir() if path.suffix in _TYPES}
    return files | {font.url_path: font.path for font in find_fonts()}
