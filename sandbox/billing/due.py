"""What happens next and when: one row per subscription or invoice that waits for a moment.

Rows live in the store (kind `_due`), so they survive a restart, and are grouped by test clock; objects without one
wait for the wall clock. Each row names the object and the epoch second; the work itself is registered by kind.
"""

from __future__ import annotations

from collections.abc import Callable

from sandbox.engine.context import Context
from sandbox.engine.errors import JsonObject
from sandbox.engine.routing import on_load
from sandbox.engine.store import Store

WALL = "wall"

Work = Callable[[Context, JsonObject, int], None]

_work: dict[str, Work] = {}


@on_load
def _declare(store: Store) -> None:
    store.index("_due", "clock")


def due_work(kind: str) -> Callable[[Work], Work]:
    """Register what is done when an object of `kind` is due; it is given the object and the moment."""

    def register(work: Work) -> Work:
        _work[kind] = work
        return work

    return register


def wait(ctx: Context, obj: JsonObject, at: int | None) -> None:
    """Set the moment at which an object (with `test_clock`) is due next; None takes it off the list."""
    row = ctx.store.get("_due", obj["id"])
    if at is None:
        if row is not None:
            ctx.store.delete("_due", obj["id"])
        return
    if row is not None and row["at"] == at:
        return
    ctx.store.put(
        "_due", {"id": obj["id"], "kind": obj["object"], "clock": obj.get("test_clock") or WALL, "at": at}
    )


def next_due(ctx: Context, clock: str, until: int) -> JsonObject | None:
    """The earliest row of a clock that is due at or before `until`; of two at once the one that waits longer."""
    rows = [row for row in ctx.store.find("_due", "clock", clock) if row["at"] <= until]
    return min(rows, key=_moment, default=None)


def _moment(row: JsonObject) -> int:
    at: int = row["at"]
    return at


def perform(ctx: Context, row: JsonObject) -> None:
    """Do one row's work. The work puts the object's next moment in place of this one; none means it is done waiting."""
    obj = ctx.store.get(row["kind"], row["id"])
    ctx.store.delete("_due", row["id"])
    if obj is not None:
        _work[row["kind"]](ctx, obj, row["at"])
