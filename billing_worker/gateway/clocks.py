"""Test clocks: time that only moves when told to (test mode only)."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from billing_worker.gateway.parsing import parse_test_clock
from billing_worker.gateway.transport import call, make_path
from billing_worker.gateway.types import TestClock

if TYPE_CHECKING:
    from stripe.params.test_helpers import TestClockAdvanceParams, TestClockCreateParams


def create_test_clock(*, frozen_at: datetime, name: str, idempotency_key: str | None = None) -> TestClock:
    """Create a clock that stands at `frozen_at`. It holds at most three customers."""
    params: TestClockCreateParams = {"frozen_time": int(frozen_at.timestamp()), "name": name}
    path = make_path("test_helpers", "test_clocks")
    return parse_test_clock(call("post", path, params, idempotency_key=idempotency_key))


def advance_test_clock(test_clock: str, *, to: datetime) -> TestClock:
    """Start moving a clock forward, by at most two billing intervals; poll `get_test_clock` until it is ready."""
    params: TestClockAdvanceParams = {"frozen_time": int(to.timestamp())}
    return parse_test_clock(
        call("post", make_path("test_helpers", "test_clocks", test_clock, "advance"), params)
    )


def get_test_clock(test_clock: str) -> TestClock:
    return parse_test_clock(call("get", make_path("test_helpers", "test_clocks", test_clock)))


def delete_test_clock(test_clock: str) -> None:
    """Delete a clock with its customers and everything they have."""
    call("delete", make_path("test_helpers", "test_clocks", test_clock))
