"""The seam: what may be set, what is kept, and that exactly the events behind it are armed whatever came first."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.django import TestCase

from billing_worker.accounts.models import AuditEntry, BillingLease
from billing_worker.accounts.states import Biller
from billing_worker.core.errors import InvalidInput
from metering.models import MeterEvent, SeamSetting
from metering.services.arming import KEEP, InsideBucket, change_seam
from metering.services.ingest import store_usage
from metering.services.seam import Seam, align_with_seam, parse_bound, set_seam
from metering.states import EventState
from tests.factories import BillingLeaseFactory, CustomerAccountFactory
from tests.metering.factories import LIVE, NOW, SHADOW, MeterEventFactory, make_input

pytestmark = pytest.mark.django_db


def day(number: int) -> datetime:
    return datetime(2026, 10, number, tzinfo=UTC)


def change(*account_ids: int, default: Seam = SHADOW, **switches):
    return change_seam(
        account_ids=account_ids,
        default=default,
        actor="ops",
        reason="the seam of October",
        now=NOW,
        **switches,
    )


def states() -> dict[str, str]:
    return dict(MeterEvent.objects.values_list("bucket", "state"))


@pytest.fixture
def account():
    account = CustomerAccountFactory.create(id=5001)
    BillingLeaseFactory.create(account=account)
    return account


def add_days(account, *numbers: int, **values) -> None:
    for number in numbers:
        MeterEventFactory.create(
            account=account, bucket=f"2026-10-{number:02d}", **{"state": EventState.SHADOW, **values}
        )


def test_arming_converts_exactly_the_shadow_events_from_the_bound_on(account):
    add_days(account, 4, 5, 6)
    MeterEventFactory.create(
        account=account, bucket="2026-10-07", state=EventState.SKIPPED, reason="given up"
    )
    other = CustomerAccountFactory.create(id=5002)
    BillingLeaseFactory.create(account=other)
    add_days(other, 8)

    result = change(5001, shadow=False, bill_from=day(5))

    assert (result.accounts, result.armed, result.disarmed, result.too_late) == (1, 2, 0, 0)
    assert states() == {
        "2026-10-04": "shadow", "2026-10-05": "pending", "2026-10-06": "pending", "2026-10-07": "skipped",
        "2026-10-08": "shadow",
    }  # fmt: skip


def test_moving_the_bound_back_and_forth_moves_what_stripe_can_not_have_counted(account):
    add_days(account, 4, 5, 6)
    change(5001, shadow=False, bill_from=day(4))
    MeterEvent.objects.filter(bucket="2026-10-04").update(attempts=1, uncertain_at=NOW)

    later = change(5001, bill_from=day(6))
    assert (later.armed, later.disarmed, later.too_late) == (0, 1, 1)
    assert states() == {"2026-10-04": "pending", "2026-10-05": "shadow", "2026-10-06": "pending"}

    assert change(5001, bill_from=None).armed == 1
    assert change(5001, shadow=True).disarmed == 2


def test_a_correction_of_a_day_before_the_bound_stays_in_shadow(account):
    add_days(account, 4)
    add_days(account, 4, revision=1, first_revision=1, value=-10)

    assert change(5001, shadow=False, bill_from=day(5)).armed == 0


def test_without_a_lease_for_stripe_nothing_is_armed(account):
    BillingLease.objects.update(biller=Biller.LEGACY)
    add_days(account, 5)

    assert change(5001, shadow=False, bill_from=None).armed == 0


def test_one_switch_leaves_the_other_as_it_is():
    CustomerAccountFactory.create(id=5001)
    CustomerAccountFactory.create(id=5002)
    change(5001, shadow=False, bill_from=day(5))

    change(5001, 5002, default=Seam(shadow=True, bill_from=day(9)), shadow=True)
    assert list(SeamSetting.objects.order_by("account_id").values_list("account_id", "shadow", "bill_from")) == [
        (5001, True, day(5)), (5002, True, day(9)),
    ]  # fmt: skip

    change(5001, 5002, bill_from=day(12))
    assert set(SeamSetting.objects.values_list("shadow", "bill_from")) == {(True, day(12))}


def test_every_change_is_audited_with_before_and_after(account):
    change(5001, shadow=False, bill_from=day(5))
    change(5001, shadow=True)

    first, second = AuditEntry.objects.filter(action="metering.seam_set").order_by("pk")
    assert (first.actor, first.reason, first.subject_id) == ("ops", "the seam of October", "5001")
    assert first.before == {}
    assert first.after == second.before == {"shadow": False, "bill_from": "2026-10-05T00:00:00+00:00"}
    assert second.after == {"shadow": True, "bill_from": "2026-10-05T00:00:00+00:00"}


@pytest.mark.parametrize(
    ("ids", "switches", "reason", "message"),
    [
        ([5001], {"shadow": False}, "  ", "give a reason"),
        ([5001, 7777], {"shadow": False}, "why", "there is no account 7777"),
        ([5001], {"bill_from": datetime(2026, 10, 5, 1, tzinfo=UTC)}, "why", "must lie on a bucket bound"),
        (
            [5001],
            {"bill_from": datetime(2026, 10, 5, tzinfo=timezone(timedelta(hours=2)))},
            "why",
            "must lie on a bucket bound",
        ),
    ],
)
def test_a_refused_change_changes_nothing(account, ids, switches, reason, message):
    add_days(account, 5)

    with pytest.raises(InvalidInput, match=message):
        change_seam(account_ids=ids, default=SHADOW, actor="ops", reason=reason, now=NOW, **switches)

    assert not SeamSetting.objects.exists()
    assert not AuditEntry.objects.exists()
    assert states() == {"2026-10-05": "shadow"}


def test_a_bound_inside_a_month_told_in_one_figure_is_refused(account):
    CustomerAccountFactory.create(id=5002)
    store_usage(records=[make_input(5001, "2026-10", "ST", 70)], author="key:test", now=NOW)

    with pytest.raises(
        InsideBucket, match=r"account 5001 tells 2026-10 in one figure.* 2026-10-01 or 2026-11-01"
    ):
        change(5002, 5001, shadow=False, bill_from=day(5))
    assert not SeamSetting.objects.exists()

    assert change(5002, 5001, shadow=False, bill_from=day(1)).accounts == 2


def test_a_killed_change_is_finished_by_the_next_run(account):
    add_days(account, 4, 5)
    set_seam(account_ids=[5001], shadow=False, bill_from=day(5), actor="ops", reason="why", now=NOW)

    assert align_with_seam(seam=SHADOW).armed == 1
    assert align_with_seam(seam=SHADOW).armed == 0
    assert states() == {"2026-10-04": "shadow", "2026-10-05": "pending"}


@pytest.mark.parametrize("text", ["2026-10-05", "2026-10-05T00:00:00Z", "2026-10-05T02:00:00+02:00"])
def test_a_bound_is_a_day_or_an_instant(text):
    assert parse_bound(text, name="--until") == day(5)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("2026-10-05T00:00:00", "neither a day"),
        ("2026-13-01", "neither a day"),
        ("0001-01-01T00:00:00+02:00", "neither a day"),
        ("yesterday", "neither a day"),
        ("", "neither a day"),
        ("2026-10-05T02:00:00Z", "--until must lie on a bucket bound"),
    ],
)
def test_what_is_no_bound_is_refused_by_name(text, message):
    with pytest.raises(InvalidInput, match=message):
        parse_bound(text, name="--until")


#: The switches of two accounts, of the environment and of the leases, and runs between them, in any order.
FLIPS = st.one_of(
    st.tuples(st.just("shadow"), st.sampled_from((5001, 5002)), st.booleans()),
    st.tuples(st.just("bill_from"), st.sampled_from((5001, 5002)), st.none() | st.integers(3, 8)),
    st.tuples(st.just("environment"), st.booleans(), st.none() | st.integers(3, 8)),
    st.tuples(st.just("lease"), st.sampled_from((5001, 5002)), st.sampled_from(Biller.values)),
    st.tuples(st.just("run")),
)


class AnyOrderOfFlipsTest(TestCase):
    @pytest.mark.sqlite_only
    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(FLIPS, max_size=12))
    def test_only_where_the_switches_end_matters(self, flips):
        wanted: dict[int, tuple[bool, int | None] | None] = {5001: None, 5002: None}
        leases = dict.fromkeys(wanted, "stripe")
        environment: tuple[bool, int | None] = (True, None)
        for number in wanted:
            account = CustomerAccountFactory.create(id=number)
            BillingLeaseFactory.create(account=account)
            add_days(account, 4, 5, 6, 7)
        for flip in flips:
            default = Seam(shadow=environment[0], bill_from=_bound(environment[1]))
            match flip:
                case ("shadow", number, is_on):
                    change(number, default=default, shadow=is_on)
                    wanted[number] = (is_on, (wanted[number] or environment)[1])
                case ("bill_from", number, bound):
                    change(number, default=default, shadow=KEEP, bill_from=_bound(bound))
                    wanted[number] = ((wanted[number] or environment)[0], bound)
                case ("environment", is_on, bound):
                    environment = (is_on, bound)
                case ("lease", number, biller):
                    BillingLease.objects.filter(account=number).update(biller=biller)
                    leases[number] = biller
                case ("run",):
                    align_with_seam(seam=default)

        align_with_seam(seam=Seam(shadow=environment[0], bill_from=_bound(environment[1])))

        pending = set(
            MeterEvent.objects.filter(state=EventState.PENDING).values_list(
                "account_id", "bucket_start_at__day"
            )
        )
        expected = set()
        for number in wanted:
            is_shadow, bound = wanted[number] or environment
            if not is_shadow and leases[number] == "stripe":
                expected |= {(number, n) for n in (4, 5, 6, 7) if bound is None or n >= bound}
        assert pending == expected
        assert MeterEvent.objects.filter(state=EventState.SHADOW).count() == 8 - len(expected)


def _bound(number: int | None) -> datetime | None:
    return None if number is None else day(number)


def test_the_environment_rules_accounts_without_a_setting(account):
    add_days(account, 4, 5)

    assert align_with_seam(seam=Seam(shadow=False, bill_from=day(5))).armed == 1
    assert align_with_seam(seam=LIVE).armed == 1
    assert MeterEvent.objects.get(bucket="2026-10-04").bucket_start_at.date() == date(2026, 10, 4)
