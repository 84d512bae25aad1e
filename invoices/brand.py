"""The seller: name, address, colours and logo, as one setting."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

from django.conf import settings

ASSETS_DIR: Final = Path(__file__).parent / "assets"


@dataclass(frozen=True, slots=True, kw_only=True)
class Brand:
    """What `assets/brand.toml` says; colours are CSS colours, `logo` is a file in `assets/`."""

    name: str
    accent: str
    accent_soft: str
    ink: str
    logo: str
    address: tuple[str, ...]
    country: str
    email: str
    tax_ids: tuple[str, ...]
    remittance: tuple[str, ...]


@cache
def get_brand() -> Brand:
    data = tomllib.loads((ASSETS_DIR / "brand.toml").read_text(encoding="utf-8"))
    values: dict[str, Any] = {
        key: tuple(item) if isinstance(item, list) else item for key, item in data.items()
    }
    return Brand(
        name=settings.ENV.BRAND_NAME,
        **values,
    )
