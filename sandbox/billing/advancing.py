"""Time passing: test clocks on their way to a new moment, and the wall clock for everybody else."""

from __future__ import annotations

import time

from sandbox.billing import due
from sandbox.engine.context import Context
from sandbox.engine.errors import JsonObject
from sandbox.engine.routing import periodic

CLOCK_KIND = "test_helpers.test_clock"
# How long one clock may hold the event loop before requests and other clocks get their turn.
SLICE_SECONDS = 0.05
WALL_TICK_SECONDS = 1.0
RETRY_SECONDS = 60


def start_advancing(ctx: Context, clock: JsonObject, target: int) -> None:
    """Set a ready clock on its way to `target` (epoch seconds); the work is done after the answer has left."""
    clock["status"] = "advancing"
    clock["status_details"] = {"advancing": {"target_frozen_time": target}}
    ctx.store.put(CLOCK_KIND, clock)
    ctx.emit("test_helpers.test_clock.advancing", clock, at=clock["frozen_time"])
    clock_id = clock["id"]
    ctx.defer(lambda later: go_on(later, clock_id))


def go_on(ctx: Context, clock_id: str) -> None:
    """Do what is due on an advancing clock, in order of time, for a slice; the frozen time moves along.

    The clock is ready when nothing is left before its target. A clock that was deleted on the way is left alone.
    """
    clock = ctx.store.get(CLOCK_KIND, clock_id)
    if clock is None or clock["status"] != "advancing":
        return
    target = clock["status_details"]["advancing"]["target_frozen_time"]
    deadline = time.monotonic() + SLICE_SECONDS
    while (row := due.next_due(ctx, clock_id, target)) is not None:
        if time.monotonic() > deadline:
            ctx.store.put(CLOCK_KIND, clock)
            ctx.defer(lambda later: go_on(later, clock_id))
            return
        clock["frozen_time"] = max(clock["frozen_time"], row["at"])
        try:
            due.perform(ctx, row)
        except Exception:
            clock["status"] = "internal_failure"
            ctx.store.put(CLOCK_KIND, clock)
            ctx.emit("test_helpers.test_clock.internal_failure", clock, at=clock["frozen_time"])
            raise
    clock["frozen_time"] = target
    clock["status"] = "ready"
    clock["status_details"] = {}
    ctx.store.put(CLOCK_KIND, clock)
    ctx.emit("test_helpers.test_clock.ready", clock, at=target)


@periodic(WALL_TICK_SECONDS)
def tick(ctx: Context) -> None:
    """Do what the wall clock has made due, and take up clocks that a restart stopped on their way."""
    deadline = time.monotonic() + SLICE_SECONDS
    now = ctx.now()
    while time.monotonic() < deadline and (row := due.next_due(ctx, due.WALL, now)) is not None:
        try:
            due.perform(ctx, row)
        except Exception:
            # One that fails doesn't hold up the others, and isn't forgotten: the engine logs it, and it is tried again.
            ctx.store.put("_due", {**row, "at": now + RETRY_SECONDS})
            raise
    for clock in ctx.store.all(CLOCK_KIND):
        if clock["status"] == "advancing":
            go_on(ctx, clock["id"])
