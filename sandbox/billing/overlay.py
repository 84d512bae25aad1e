"""What-if: a view of the store that takes changes and forgets them, for previews that run the real code."""

from __future__ import annotations

from typing import Any, cast

from sandbox.billing.diff import snapshot
from sandbox.engine.context import Context
from sandbox.engine.errors import JsonObject
from sandbox.engine.store import Store


class Overlay:
    """Reads through to a store, hands out copies, and keeps whatever is put or deleted to itself."""

    def __init__(self, base: Store) -> None:
        self.base = base
        self._changed: dict[str, dict[str, JsonObject | None]] = {}

    def get(self, kind: str, id: str) -> JsonObject | None:
        """A copy of the stored object, the same one each time; None where there is none or it was deleted here."""
        known = self._changed.setdefault(kind, {})
        if id not in known:
            stored = self.base.get(kind, id)
            if stored is None:
                return None
            known[id] = snapshot(stored)
        return known[id]

    def put(self, kind: str, obj: JsonObject) -> None:
        """Keep an object in this view."""
        self._changed.setdefault(kind, {})[obj["id"]] = obj

    def delete(self, kind: str, id: str) -> None:
        """Hide an object in this view."""
        self._changed.setdefault(kind, {})[id] = None

    def bury(self, kind: str, id: str) -> JsonObject:
        """Hide an object; there are no tombstones here."""
        self.delete(kind, id)
        return {"id": id, "object": kind, "deleted": True}

    def buried(self, kind: str, id: str) -> JsonObject | None:
        """The stored tombstone."""
        return self.base.buried(kind, id)

    def all(self, kind: str) -> list[JsonObject]:
        """Every object of a kind as this view has it."""
        return self._view(kind, [obj["id"] for obj in self.base.all(kind)])

    def find(self, kind: str, field: str, value: Any) -> list[JsonObject]:
        """The objects whose field has a value in this view; oldest first, new ones last."""
        found = self._view(kind, [obj["id"] for obj in self.base.find(kind, field, value)])
        return [obj for obj in found if _value(obj, field) == value]

    def _view(self, kind: str, ids: list[str]) -> list[JsonObject]:
        ids += [id for id in self._changed.get(kind, {}) if id not in ids]
        return [obj for obj in (self.get(kind, id) for id in ids) if obj is not None]

    def new_id(self, prefix: str) -> str:
        """A fresh id that names nothing stored."""
        return self.base.new_id(prefix)


def _value(obj: JsonObject, field: str) -> Any:
    value: Any = obj
    for part in field.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


class WhatIf(Context):
    """A context on an overlay: nothing it does is stored, told or deferred."""

    __slots__ = ()

    def __init__(self, ctx: Context) -> None:
        super().__init__(ctx.engine, params=dict(ctx.params), path=ctx.path)
        self.store = cast(Store, Overlay(ctx.store))

    def emit(
        self, event_type: str, obj: JsonObject, previous: JsonObject | None = None, at: int | None = None
    ) -> None:
        """Tell nobody."""

    def defer(self, work: Any, delay: float = 0.0) -> None:
        """Do nothing later."""
