"""Fields and values in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

_NAMES: Final = {
    "name": "name",
    "email": "e-mail",
    "address": "address",
    "preferred_locales": "language",
    "tax_id": "tax id",
}


def name_field(field: str) -> str:
    return _NAMES.get(field, field)


def describe_value(value: Any) -> str:
    """A value of any field for people; `nothing` where there is none."""
    if not value:
        return "nothing"
    if isinstance(value, Mapping):
        if "type" in value:
            return f"{value['type']} {value['value']}"
        order = ("line1", "line2", "postal_code", "city", "state", "country")
        return ", ".join(value[name] for name in order if value.get(name))
    if isinstance(value, (list, tuple)):
        return ", ".join(describe_value(one) for one in value)
    return str(value)
