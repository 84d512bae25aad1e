from __future__ import annotations

from contextlib import contextmanager
from datetime import date, timedelta
from hashlib import sha256

import pytest

from metering.models import UsageRecord
from metering.pulling.claims import CLAIM_EXPIRES_AFTER, PullTakenOver, claim_day, renew_claim, settle_claim
from metering.pulling.models import UsagePull
from metering.pulling.services import pull_day
from metering.pulling.sources import DayReading, SourceDay, SourceRow
from metering.pulling.states import TRANSITIONS, PullState
from tests.factories import AccountFactory
from tests.metering.factories import NOW

pytestmark = pytest.mark.django_db
DAY = date(2026, 10, 5)


class ListSource:
    """A source that holds its rows in a list; `on_read` runs before each row."""

    name = "redshift"
    is_whole = True

    def __init__(self, rows, on_read=lambda: None):
        self.rows = rows
        self.on_read = on_read

    def list_days(self, period):
        return [self._said()]

    def get_first_day(self):
        return DAY

    @contextmanager
    def open_day(self, day):
        yield DayReading(said=self._said(), rows=self._iterate())

    def describe_restatement(self, said):
        return "restated"

    def _said(self):
        return SourceDay(
            day=DAY, rows=len(self.rows), fingerprint=sha256(str(self.rows).encode()).hexdigest()
        )

    def _iterate(self):
        for row in self.rows:
            self.on_read()
            yield row


def test_a_day_has_one_puller():
    first = claim_day(source="redshift", day=DAY, now=NOW)
    assert first is not None
    assert claim_day(source="redshift", day=DAY, now=NOW) is None
    assert claim_day(source="csv", day=DAY, now=NOW) is not None
    settle_claim(first, state=PullState.FAILED, changes={"detail": "broken off"})
    assert claim_day(source="redshift", day=DAY, now=NOW) is not None


def test_a_dead_pullers_day_is_taken_over_and_it_writes_nothing_more():
    first = claim_day(source="redshift", day=DAY, now=NOW)
    renew_claim(first, now=NOW + timedelta(minutes=10))
    assert claim_day(source="redshift", day=DAY, now=NOW + CLAIM_EXPIRES_AFTER) is None
    later = NOW + timedelta(minutes=10) + CLAIM_EXPIRES_AFTER
    assert claim_day(source="redshift", day=DAY, now=later) is not None
    with pytest.raises(PullTakenOver):
        renew_claim(first, now=later)
    with pytest.raises(PullTakenOver):
        settle_claim(first, state=PullState.DONE, changes={})


def test_a_busy_day_is_left_to_its_puller():
    claim_day(source="redshift", day=DAY, now=NOW)
    result = pull_day(source=ListSource([]), day=DAY, clock=lambda: NOW)
    assert result.state is None


def test_a_pull_that_lost_its_day_stores_nothing():
    AccountFactory.create(id=5001)
    later = NOW + CLAIM_EXPIRES_AFTER

    def take_over():
        assert claim_day(source="redshift", day=DAY, now=later)

    source = ListSource([SourceRow(5001, "ST", 70)], on_read=take_over)
    with pytest.raises(PullTakenOver):
        pull_day(source=source, day=DAY, clock=lambda: NOW)
    assert not UsageRecord.objects.exists()
    assert UsagePull.objects.get().state == PullState.PULLING


@pytest.mark.parametrize(
    ("odd", "left"),
    [
        (SourceRow(5001, "ST ", 80), {"5001 ST": 70, "5002 ST": 0}),  # padded: the same row, or another?
        (SourceRow(None, "ST", 80), {"5001 ST": 70, "5002 ST": 7}),
    ],
)
def test_a_figure_is_not_zeroed_while_a_row_that_may_be_it_is_refused(odd, left):
    for number in (5001, 5002, 5003):
        AccountFactory.create(id=number)
    rows = [SourceRow(5001, "ST", 70), SourceRow(5002, "ST", 7), SourceRow(5003, "ST", 1)]
    pull_day(source=ListSource(rows), day=DAY, clock=lambda: NOW)

    result = pull_day(source=ListSource([odd, rows[2]]), day=DAY, clock=lambda: NOW)

    held = {
        f"{record.feed.account_id} {record.usage_type}": record.quantity
        for record in UsageRecord.objects.select_related("feed").order_by("revision")
    }
    assert (result.state, result.refused) == ("partial", 1)
    assert held == left | {"5003 ST": 1}


def test_every_state_has_a_way_out():
    assert set(TRANSITIONS) == set(PullState)
    assert all(TRANSITIONS.values())
