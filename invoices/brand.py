"""The seller: name, address, colours and logo, as one setting."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

from django.conf import settings

from invoices.content import BankAccount, PostalAddress

ASSETS_DIR: Final = Path(__file__).parent / "assets"


@dataclass(frozen=True, slots=True, kw_only=True)
class Brand:
    """What `assets/brand.toml` says; colours are CSS colours, `logo` is a file in `assets/`.

    `tax_ids` and `remittance` are printed as they are; `vat_id` to `legal_id`, `postal` and `bank` go into Factur-X.
    """

    name: str
    accent: str
    accent_soft: str
    ink: str
    logo: str
    address: tuple[str, ...]
    country: str
    email: str
    tax_ids: tuple[str, ...]
    vat_id: str
    tax_number: str
    legal_id: str
    remittance: tuple[str, ...]
    postal: PostalAddress
    bank: BankAccount


@cache
def get_brand() -> Brand:
    data = tomllib.loads((ASSETS_DIR / "brand.toml").read_text(encoding="utf-8"))
    values: dict[str, Any] = {
        key: tuple(item) if isinstance(item, list) else item for key, item in data.items()
    }
    values["postal"] = PostalAddress(**data["postal"])
    values["bank"] = BankAccount(**data["bank"])
    return Brand(name=settings.ENV.BRAND_NAME, **values)
