"""JSON from outside: exact numbers, and nothing that JSON does not have."""

from __future__ import annotations

import json
from decimal import Decimal, InvalidOperation
from typing import Any


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _parse_decimal(text: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation as error:
        raise ValueError("a number's exponent is too large") from error


def _refuse_repeated_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        repeated = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {repeated!r} stands twice in one object")
    return found


def loads_strict(text: str | bytes) -> Any:
    """JSON with decimals as `Decimal`; no NaN or Infinity, no key twice in one object, no half of a character.

    Raises:
        ValueError: not JSON, or nested deeper than the parser can follow.
    """
    try:
        parsed = json.loads(
            text,
            parse_float=_parse_decimal,
            parse_constant=_refuse_constant,
            object_pairs_hook=_refuse_repeated_keys,
        )
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    escapes = b"\\ud" if isinstance(text, bytes) else "\\ud"
    if escapes in text.lower():  # type: ignore[operator]
        _refuse_lone_surrogates(parsed)
    return parsed


def _refuse_lone_surrogates(parsed: Any) -> None:
    """JSON can escape half of a character; no database and no page can hold it."""
    try:
        json.dumps(parsed, ensure_ascii=False, default=str).encode()
    except UnicodeEncodeError as error:
        raise ValueError("a lone surrogate is not text") from error
