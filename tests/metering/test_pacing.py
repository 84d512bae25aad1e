"""Slots of a shared budget: no second sees more than the limit, nothing is saved up, and a late caller is sent away."""

from __future__ import annotations

import threading
import time
from datetime import timedelta
from decimal import Decimal

import pytest

from billing_worker.database_clock import get_database_now
from metering.models import SendingBudget
from metering.services.sending.budget import SharedBudget
from metering.services.sending.pacing import LocalBudget, Pace


def start_all(pace: Pace, events: int, threads: int) -> list[float]:
    """When each of so many events may start, taken by threads while this one refills."""
    starts: list[float] = []
    share = events // threads

    def work() -> None:
        for _ in range(share):
            assert pace.wait(1)
            starts.append(time.monotonic())

    running = [threading.Thread(target=work) for _ in range(threads)]
    for thread in running:
        thread.start()
    while any(thread.is_alive() for thread in running):
        pace.refill()
        time.sleep(0.001)
    return sorted(starts)


def test_two_processes_share_one_limit():
    """Both on one budget, as if each were a process: together they stay under 100 a second, and near it."""
    budget = LocalBudget(Decimal(100))
    lock = threading.Lock()

    def reserve(events: int) -> float:
        with lock:
            return budget(events)

    found: list[list[float]] = []
    senders = [
        threading.Thread(
            target=lambda: found.append(start_all(Pace(Decimal(100), reserve), events=20, threads=4))
        )
        for _ in range(2)
    ]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join()
    starts = sorted(moment for part in found for moment in part)
    assert len(starts) == 40
    # 40 starts lie 11 ms apart; one may be 90 ms late.
    assert starts[-1] - starts[0] >= 39 * 0.011 - 0.09


def test_slots_that_nobody_uses_are_lost():
    pace = Pace(Decimal(1000), LocalBudget(Decimal(1000)))
    threading.Timer(0.05, pace.refill).start()
    assert pace.wait(1)
    time.sleep(0.2)
    first = time.monotonic()
    assert not pace.wait(1, deadline=first + 0.01), "what was left of the slice is over"


def test_a_call_that_would_start_too_late_is_not_started():
    budget = LocalBudget(Decimal(1))
    budget(60)  # somebody else has the next minute
    pace = Pace(Decimal(1), budget)
    threading.Timer(0.01, pace.refill).start()
    started = time.monotonic()
    assert not pace.wait(1, deadline=started + 30)
    assert time.monotonic() - started < 30


def test_closing_sends_waiting_threads_away():
    pace = Pace(Decimal(1), LocalBudget(Decimal(1)))
    answers: list[bool] = []
    waiting = threading.Thread(target=lambda: answers.append(pace.wait(1)))
    waiting.start()
    pace.close()
    waiting.join(60)
    assert answers == [False]


@pytest.mark.django_db
def test_the_shared_budget_is_a_row_that_everybody_moves_on():
    first, second = SharedBudget(Decimal(1)), SharedBudget(Decimal(1))
    assert first(10) == 0.0
    # Ten slots of 1.1 s are taken.
    assert 10 < second(1) <= 11.0
    assert 11 < first(1) <= 12.1


@pytest.mark.django_db
@pytest.mark.parametrize("off", [timedelta(days=-1), timedelta(days=1)])
def test_a_clock_that_was_set_does_not_stop_the_senders(off):
    SharedBudget(Decimal(1000))(1)
    SendingBudget.objects.update(spent_until=get_database_now() + off)
    assert SharedBudget(Decimal(1000))(1) == 0.0
