"""Test clocks: time for up to three customers each, moved on request and worked through in order."""

from __future__ import annotations

from sandbox.billing.advancing import CLOCK_KIND, start_advancing
from sandbox.billing.calendar import boundary
from sandbox.billing.subscription_record import ENDED, cycle_of
from sandbox.engine.context import Context
from sandbox.engine.errors import JsonObject, StripeError, invalid
from sandbox.engine.routing import operation
from sandbox.engine.shapes import list_page
from sandbox.resources.customers import CLOCK_HOOKS, remove_customer

MAX_CUSTOMERS = 3
MAX_INTERVALS = 2
# Without subscriptions Stripe allows two years ahead of the creation's real time; the step here has the same length.
MAX_STEP_WITHOUT_SUBSCRIPTION = 2 * 366 * 86_400
KEPT_SECONDS = 30 * 86_400


@operation("POST", "/v1/test_helpers/test_clocks", params="test_helpers.TestClockCreateParams")
def create_test_clock(ctx: Context) -> JsonObject:
    now = ctx.now()
    clock = {
        "id": ctx.store.new_id("clock"),
        "object": CLOCK_KIND,
        "created": now,
        "deletes_after": now + KEPT_SECONDS,
        "frozen_time": ctx.params["frozen_time"],
        "livemode": False,
        "name": ctx.params.get("name"),
        "status": "ready",
        "status_details": {},
    }
    ctx.store.put(CLOCK_KIND, clock)
    ctx.emit("test_helpers.test_clock.created", clock, at=clock["frozen_time"])
    return clock


@operation("GET", "/v1/test_helpers/test_clocks", params="test_helpers.TestClockListParams")
def list_test_clocks(ctx: Context) -> JsonObject:
    return list_page(ctx, ctx.store.all(CLOCK_KIND), "/v1/test_helpers/test_clocks")


@operation("GET", "/v1/test_helpers/test_clocks/{test_clock}", params="test_helpers.TestClockRetrieveParams")
def retrieve_test_clock(ctx: Context) -> JsonObject:
    return ctx.require(CLOCK_KIND, ctx.path["test_clock"], "test_clock")


@operation(
    "POST", "/v1/test_helpers/test_clocks/{test_clock}/advance", params="test_helpers.TestClockAdvanceParams"
)
def advance_test_clock(ctx: Context) -> JsonObject:
    """Start advancing: the answer is `advancing`, and the clock is `ready` when everything until then has happened."""
    clock = ctx.require(CLOCK_KIND, ctx.path["test_clock"], "test_clock")
    target = ctx.params["frozen_time"]
    if clock["status"] == "advancing":
        raise StripeError(
            429, "Test clock is currently advancing. Wait until it is ready.", code="test_clock_advancing"
        )
    if clock["status"] != "ready":
        raise StripeError(
            400, f"Test clock advancement failed earlier (status {clock['status']}); delete the clock."
        )
    if target <= clock["frozen_time"]:
        raise invalid("frozen_time", "A test clock can only be advanced forward: pass a later `frozen_time`.")
    latest = _furthest(ctx, clock)
    if target > latest:
        message = (
            "Can only advance a test clock up to two intervals of its shortest subscription at a time; "
            f"the furthest `frozen_time` is {latest}."
        )
        raise invalid("frozen_time", message)
    start_advancing(ctx, clock, target)
    return clock


def _furthest(ctx: Context, clock: JsonObject) -> int:
    frozen: int = clock["frozen_time"]
    bounds = [frozen + MAX_STEP_WITHOUT_SUBSCRIPTION]
    for customer in ctx.store.find("customer", "test_clock", clock["id"]):
        for subscription in ctx.store.find("subscription", "customer", customer["id"]):
            if subscription["status"] not in ENDED:
                _, interval, count = cycle_of(ctx, subscription)
                bounds.append(boundary(frozen, interval, count, MAX_INTERVALS))
    return min(bounds)


@operation("DELETE", "/v1/test_helpers/test_clocks/{test_clock}", params="test_helpers.TestClockDeleteParams")
def delete_test_clock(ctx: Context) -> JsonObject:
    """Delete a clock and its customers, with their subscriptions."""
    clock = ctx.require(CLOCK_KIND, ctx.path["test_clock"], "test_clock")
    for customer in ctx.store.find("customer", "test_clock", clock["id"]):
        remove_customer(ctx, customer)
    for row in ctx.store.find("_due", "clock", clock["id"]):
        ctx.store.delete("_due", row["id"])
    ctx.emit("test_helpers.test_clock.deleted", clock, at=clock["frozen_time"])
    return ctx.store.bury(CLOCK_KIND, clock["id"])


def attach_customer(ctx: Context, clock_id: str) -> None:
    """Refuse a customer that a clock has no room for, or that would join while it moves.

    The new customer is stored already when this is called.

    Raises:
        StripeError: 400, the clock has three customers or is advancing.
    """
    clock = ctx.require(CLOCK_KIND, clock_id, "test_clock")
    if clock["status"] != "ready":
        raise invalid("test_clock", f"Test clock {clock_id} isn't ready (status {clock['status']}).")
    if len(ctx.store.find("customer", "test_clock", clock_id)) > MAX_CUSTOMERS:
        raise invalid(
            "test_clock", f"Test clock {clock_id} has reached its limit of {MAX_CUSTOMERS} customers."
        )


CLOCK_HOOKS.append(attach_customer)
