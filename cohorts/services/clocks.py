"""Test clocks: the time that a cohort's test customers live in (test mode only)."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

from billing_worker import gateway
from billing_worker.accounts.models import Account, TestClock
from billing_worker.accounts.services import record_test_clock
from billing_worker.core.errors import Unavailable
from cohorts.models import Cohort
from cohorts.provisioning import SubscriptionPlan

#: https://docs.stripe.com/billing/testing/test-clocks#limits
CUSTOMERS_PER_CLOCK: Final = 3
#: A clock may be moved by two intervals of the shortest subscription at a time; ours are monthly.
LONGEST_STEP: Final = timedelta(days=56)
READY_TIMEOUT_SECONDS: Final = 120
#: Clocks that Stripe is asked to move before the first of them is waited for.
CLOCKS_AT_ONCE: Final = 8


class ClockStuck(Unavailable):
    """Stripe could not advance a test clock, or not in time. Repeat the command: it goes on where it stopped."""

    code = "clock_stuck"


def assign_clocks(
    *, cohort: Cohort, plans: Mapping[int, SubscriptionPlan], payers: Sequence[Account]
) -> dict[int, TestClock]:
    """A test clock for each payer, frozen where its subscription starts, up to three payers on each.

    The grouping depends on the cohort alone, so a repeat finds the clocks of the first try. A payer whose customer
    lives on no clock has none here.
    """
    by_start: defaultdict[datetime, list[Account]] = defaultdict(list)
    for payer in payers:
        if payer.stripe_customer_id is None or payer.test_clock is not None:
            by_start[plans[payer.pk].start_at].append(payer)
    assigned: dict[int, TestClock] = {}
    for start_at, group in sorted(by_start.items()):
        for first in range(0, len(group), CUSTOMERS_PER_CLOCK):
            some = group[first : first + CUSTOMERS_PER_CLOCK]
            clock = _find_or_create(
                name=f"{cohort.name} {start_at:%Y-%m-%d} {some[0].pk}", frozen_at=start_at
            )
            assigned |= {payer.pk: payer.test_clock or clock for payer in some}
    return assigned


def _find_or_create(*, name: str, frozen_at: datetime) -> TestClock:
    clock = TestClock.objects.filter(name=name).first()
    if clock is not None:
        return clock
    answer = gateway.create_test_clock(frozen_at=frozen_at, name=name, idempotency_key=f"clock:{name}")
    return record_test_clock(stripe_test_clock_id=answer.id, frozen_at=answer.frozen_at, name=name)


def advance_clocks(
    *,
    clocks: Collection[TestClock],
    to: datetime,
    track: Callable[[list[list[TestClock]]], Iterable[list[TestClock]]] = iter,
) -> int:
    """Move test clocks on to `to` (aware UTC), some at a time, and wait until Stripe says that each is ready.

    Answers how many moved; clocks at `to` or past it stay.

    Raises:
        ClockStuck: a clock failed at Stripe, or was not ready in time.
        GatewayError: Stripe refused or did not answer.
    """
    late = [clock for clock in clocks if clock.frozen_at < to]
    groups = [late[first : first + CLOCKS_AT_ONCE] for first in range(0, len(late), CLOCKS_AT_ONCE)]
    for group in track(groups):
        waiting = group
        while waiting:
            moving = [_start_moving(clock, to=to) for clock in waiting]
            waiting = [clock for clock in map(_wait_until_ready, moving) if clock.frozen_at < to]
    return len(late)


def _start_moving(clock: TestClock, *, to: datetime) -> TestClock:
    """Ask for the next step, unless a step that was asked for before is still under way or has gone far enough."""
    answer = gateway.get_test_clock(clock.stripe_test_clock_id)
    if answer.status == "ready" and answer.frozen_at < to:
        target = min(to, answer.frozen_at + LONGEST_STEP)
        answer = gateway.advance_test_clock(clock.stripe_test_clock_id, to=target)
    return record_test_clock(
        stripe_test_clock_id=clock.stripe_test_clock_id,
        frozen_at=clock.frozen_at if answer.status == "advancing" else answer.frozen_at,
        is_ready=answer.status == "ready",
    )


def _wait_until_ready(clock: TestClock) -> TestClock:
    deadline = time.monotonic() + READY_TIMEOUT_SECONDS
    pause = 0.02
    while True:
        answer = gateway.get_test_clock(clock.stripe_test_clock_id)
        if answer.status == "ready":
            return record_test_clock(
                stripe_test_clock_id=clock.stripe_test_clock_id, frozen_at=answer.frozen_at, is_ready=True
            )
        if answer.status != "advancing" or time.monotonic() > deadline:
            raise ClockStuck(
                f"test clock {clock.stripe_test_clock_id} is {answer.status.replace('_', ' ')}: try again later"
            )
        time.sleep(pause)
        pause = min(pause * 2, 1.0)
