"""What several resources share: metadata, list filters, previous attributes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sandbox.engine.errors import JsonObject, invalid

MAX_METADATA_KEYS = 50


def merge_metadata(current: JsonObject | None, given: Any) -> dict[str, str]:
    """Return the metadata after an update: given keys replace, empty values remove, ``""`` removes all.

    Raises:
        StripeError: more than 50 keys, a key over 40 or a value over 500 characters.
    """
    if given == "":
        return {}
    merged = dict(current or {})
    for key, value in given.items():
        if len(key) > 40:
            raise invalid("metadata", f"Metadata keys must be at most 40 characters long: '{key}'")
        if len(value) > 500:
            raise invalid(f"metadata[{key}]", "Metadata values must be at most 500 characters long.")
        if value == "":
            merged.pop(key, None)
        else:
            merged[key] = value
    if len(merged) > MAX_METADATA_KEYS:
        raise invalid("metadata", f"Metadata can have at most {MAX_METADATA_KEYS} keys.")
    return merged


def unset(value: Any) -> Any:
    """Return None for the empty string with which a request unsets a field."""
    return None if value == "" else value


def changed(before: JsonObject, after: JsonObject) -> JsonObject:
    """Return ``previous_attributes``: the former values of what differs (nested hashes are compared per key)."""
    previous: JsonObject = {}
    for key in before.keys() | after.keys():
        if key.startswith("_"):
            continue
        old, new = before.get(key), after.get(key)
        if old == new:
            continue
        if isinstance(old, dict) and isinstance(new, dict) and "object" not in old:
            previous[key] = changed(old, new)
        else:
            previous[key] = old
    return previous


def filter_created(items: Iterable[JsonObject], created: Any, field: str = "created") -> list[JsonObject]:
    """Filter by a timestamp given as an integer or as a hash of ``gt``, ``gte``, ``lt``, ``lte``."""
    if created is None:
        return list(items)
    if isinstance(created, int):
        return [item for item in items if item[field] == created]
    low, high = created.get("gte"), created.get("lte")
    if "gt" in created:
        low = max(low or 0, created["gt"] + 1)
    if "lt" in created:
        high = created["lt"] - 1 if high is None else min(high, created["lt"] - 1)
    return [
        item
        for item in items
        if (low is None or item[field] >= low) and (high is None or item[field] <= high)
    ]


def filter_equal(items: Iterable[JsonObject], params: JsonObject, *names: str) -> list[JsonObject]:
    """Keep the items whose fields equal the parameters that were given among ``names``."""
    wanted = {name: params[name] for name in names if name in params}
    if not wanted:
        return list(items)
    return [item for item in items if all(item.get(name) == value for name, value in wanted.items())]
