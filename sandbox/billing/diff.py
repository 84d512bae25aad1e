"""`previous_attributes` of an event: what an object held before a change."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


def snapshot(value: Any) -> Any:
    """A copy of plain JSON data that later changes to the original don't reach."""
    if isinstance(value, dict):
        return {key: snapshot(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [snapshot(inner) for inner in value]
    return value


def shown(obj: dict[str, Any]) -> dict[str, Any]:
    """A copy of a stored object as it is embedded in another one: without the sandbox's own fields (`_...`)."""
    return {key: snapshot(value) for key, value in obj.items() if not key.startswith("_")}


def previous_attributes(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    """The old values of changed fields: nested objects give their changed fields only, lists are given whole.

    A field that did not exist before appears as None; the sandbox's own fields (`_...`) don't appear.
    """
    previous: dict[str, Any] = {}
    for key in before.keys() | after.keys():
        old, new = before.get(key), after.get(key)
        if old == new or key.startswith("_"):
            continue
        if isinstance(old, dict) and isinstance(new, dict) and old.get("object") != "list":
            previous[key] = previous_attributes(old, new)
        else:
            previous[key] = old
    return previous


@contextmanager
def undone_on_error(obj: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Give a snapshot of a stored object that is about to be changed in place; a refused change is taken back."""
    before = snapshot(obj)
    try:
        yield before
    except Exception:
        obj.clear()
        obj.update(before)
        raise
