"""The old rules of billing against amounts worked out by hand."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.legacy.errors import LegacyDataError
from sandbox.legacy.months import Month
from sandbox.legacy.rules import (
    Account,
    FlatFee,
    Job,
    Line,
    Tier,
    compute_invoice_lines,
    compute_tier_lines,
    round_amount,
    to_minor,
)

OCTOBER = Month(2026, 10)
LONG_AGO = date(2020, 1, 1)
STARTER = (
    Tier("ST", 0, 500_000, Decimal("0"), LONG_AGO),
    Tier("ST", 500_000, 2_000_000, Decimal("1.25"), LONG_AGO),
    Tier("ST", 2_000_000, None, Decimal("0.95"), LONG_AGO),
)


def make_account(acct_id: int = 1, **more) -> Account:
    defaults = {"name": "Example Ltd", "currency": "USD", "created_on": LONG_AGO}
    return Account(acct_id, **{**defaults, **more})


def fee(rate: str, start: date = LONG_AGO, end: date | None = None) -> FlatFee:
    return FlatFee("Plan", Decimal(rate), start, end)


def bill(account: Account, *children: Account, month: Month = OCTOBER) -> list[tuple[str, int, str]]:
    lines = compute_invoice_lines(account, children, month)
    return [(line.kind, line.quantity, str(line.amount)) for line in lines]


class TestRounding:
    @pytest.mark.parametrize(
        ("amount", "currency", "expected"),
        [
            ("0.005", "USD", "0.01"),
            ("0.0049999999", "USD", "0.00"),
            ("1542.505", "USD", "1542.51"),
            ("29.145", "EUR", "29.15"),
            ("-0.005", "USD", "-0.01"),
            ("138638.5", "JPY", "138639.00"),
            ("138638.499999", "JPY", "138638.00"),
        ],
    )
    def test_half_goes_up(self, amount, currency, expected):
        assert str(round_amount(Decimal(amount), currency)) == expected

    def test_minor_units(self):
        assert to_minor(Decimal("12.34"), "USD") == 1234
        assert to_minor(Decimal("480.00"), "JPY") == 480

    def test_an_amount_finer_than_the_minor_unit_is_refused(self):
        with pytest.raises(LegacyDataError, match="not a whole number"):
            to_minor(Decimal("480.50"), "JPY")

    def test_a_currency_never_billed_is_refused(self):
        with pytest.raises(LegacyDataError, match="'XYZ'"):
            round_amount(Decimal(1), "XYZ")


class TestTiers:
    @pytest.mark.parametrize(
        ("quantity", "expected"),
        [
            (0, []),
            (1, [(1, "0.00")]),
            (500_000, [(500_000, "0.00")]),
            (500_001, [(500_000, "0.00"), (1, "0.00")]),
            (500_004, [(500_000, "0.00"), (4, "0.01")]),
            (2_000_000, [(500_000, "0.00"), (1_500_000, "1875.00")]),
            (2_000_001, [(500_000, "0.00"), (1_500_000, "1875.00"), (1, "0.00")]),
            (1_734_004, [(500_000, "0.00"), (1_234_004, "1542.51")]),
            # 1,000,000,000,000,000 impressions: 999,999,998,000,000 x 0.95 / 1,000 = 949,999,998,100.00
            (10**15, [(500_000, "0.00"), (1_500_000, "1875.00"), (999_999_998_000_000, "949999998100.00")]),
        ],
    )
    def test_each_tier_used_is_a_line(self, quantity, expected):
        lines = compute_tier_lines(STARTER, quantity, "USD")
        assert [(line.quantity, str(line.amount)) for line in lines] == expected

    def test_six_decimals_of_a_rate_count(self):
        # 1,234,567 x 1.204167 / 1,000 = 1,486.62484... -> 1,486.62
        tier = Tier("CV", 0, None, Decimal("1.204167"), LONG_AGO)
        assert [str(line.amount) for line in compute_tier_lines([tier], 1_234_567, "USD")] == ["1486.62"]

    @given(st.integers(min_value=0, max_value=10**12))
    def test_no_impression_is_lost_and_no_line_is_off_by_more_than_half_a_cent(self, quantity):
        lines = compute_tier_lines(STARTER, quantity, "USD")
        assert sum(line.quantity for line in lines) == quantity
        for line in lines:
            assert abs(line.amount - line.quantity * line.unit_rate / 1000) <= Decimal("0.005")

    @pytest.mark.parametrize(
        "tiers",
        [
            [Tier("ST", 1, None, Decimal(1), LONG_AGO)],
            [Tier("ST", 0, 10, Decimal(1), LONG_AGO)],
            [Tier("ST", 0, 10, Decimal(1), LONG_AGO), Tier("ST", 11, None, Decimal(1), LONG_AGO)],
            [Tier("ST", 0, None, Decimal(1), LONG_AGO), Tier("ST", 10, None, Decimal(1), LONG_AGO)],
            [Tier("ST", 0, 0, Decimal(1), LONG_AGO), Tier("ST", 0, None, Decimal(1), LONG_AGO)],
        ],
    )
    def test_a_table_with_a_gap_an_overlap_or_an_end_is_refused(self, tiers):
        with pytest.raises(LegacyDataError, match="account 1"):
            bill(make_account(tiers=tuple(tiers), usage={"ST": 5}))

    def test_usage_of_a_type_without_tiers_costs_nothing(self):
        assert bill(make_account(tiers=STARTER, usage={"CV": 1_000})) == []


class TestPlanOfTheMonth:
    def test_a_fee_that_changes_within_the_month_holds_from_the_next_first(self):
        changed = date(2026, 10, 2)
        account = make_account(fees=(fee("99.00", LONG_AGO, changed), fee("149.00", changed)))
        assert bill(account) == [("sub", 1, "99.00")]
        assert bill(account, month=Month(2026, 11)) == [("sub", 1, "149.00")]

    def test_a_fee_that_changes_on_the_first_holds_at_once(self):
        changed = date(2026, 10, 1)
        account = make_account(fees=(fee("99.00", LONG_AGO, changed), fee("149.00", changed)))
        assert bill(account) == [("sub", 1, "149.00")]

    def test_tiers_that_change_within_the_month_hold_from_the_next_first(self):
        changed = date(2026, 10, 15)
        old = Tier("ST", 0, None, Decimal("2.00"), LONG_AGO, changed)
        new = Tier("ST", 0, None, Decimal("1.00"), changed)
        account = make_account(tiers=(old, new), usage={"ST": 10_000})
        assert bill(account) == [("ST", 10_000, "20.00")]
        assert bill(account, month=Month(2026, 11)) == [("ST", 10_000, "10.00")]

    def test_two_fees_at_once_are_refused(self):
        with pytest.raises(LegacyDataError, match="2 flat fees"):
            bill(make_account(fees=(fee("1.00"), fee("2.00"))))

    def test_a_fee_that_begins_later_than_the_account_is_not_billed_before(self):
        account = make_account(created_on=date(2026, 10, 1), fees=(fee("99.00", date(2026, 11, 1)),))
        assert bill(account) == []


class TestProration:
    @pytest.mark.parametrize(
        ("start", "rate", "expected"),
        [
            (date(2026, 10, 1), "249.00", "249.00"),
            (date(2026, 10, 2), "249.00", "240.97"),  # 249 x 30 / 31 = 240.9677
            (date(2026, 10, 12), "249.00", "160.65"),  # 249 x 20 / 31 = 160.6452
            (date(2026, 10, 31), "249.00", "8.03"),  # 249 / 31 = 8.0323
            (date(2026, 9, 16), "99.99", "50.00"),  # 99.99 / 2 = 49.995
            (date(2026, 2, 15), "10.00", "5.00"),  # 14 of 28 days
            (date(2028, 2, 15), "10.00", "5.17"),  # leap: 15 of 29 days = 5.1724
            (date(2028, 2, 29), "10.00", "0.34"),  # 1 of 29 days = 0.3448
        ],
    )
    def test_a_start_within_the_month_pays_for_the_days_left(self, start, rate, expected):
        month = Month(start.year, start.month)
        assert bill(make_account(created_on=start, fees=(fee(rate, start),)), month=month) == [
            ("sub", 1, expected)
        ]

    def test_yen_are_prorated_to_whole_yen(self):
        # 7,800 x 9 / 31 = 2,264.516
        start = date(2026, 10, 23)
        account = make_account(currency="JPY", created_on=start, fees=(fee("7800.00", start),))
        assert bill(account) == [("sub", 1, "2265.00")]

    def test_the_tiers_of_the_start_day_hold_and_are_not_shortened(self):
        start = date(2026, 10, 30)
        tiers = (Tier("ST", 0, 1_000, Decimal(0), start), Tier("ST", 1_000, None, Decimal(5), start))
        account = make_account(created_on=start, tiers=tiers, usage={"ST": 3_000})
        assert bill(account) == [("ST", 1_000, "0.00"), ("ST", 2_000, "10.00")]

    def test_nothing_is_billed_before_the_start(self):
        assert bill(make_account(created_on=date(2026, 11, 1), fees=(fee("99.00"),))) == []


class TestStatus:
    def test_a_suspended_account_pays_the_flat_fee_only(self):
        account = make_account(
            status="suspended", fees=(fee("149.00"),), tiers=STARTER, usage={"ST": 3_000_000}
        )
        assert bill(account) == [("sub", 1, "149.00")]

    def test_a_closed_account_pays_its_closing_month_in_full_and_then_nothing(self):
        closed = date(2026, 10, 9)
        job = Job(7, "Farewell", Decimal("20.00"), "done", datetime(2026, 11, 3))  # noqa: DTZ001
        account = make_account(status="closed", fees=(fee("79.00", LONG_AGO, closed),), jobs=(job,))
        assert bill(account) == [("sub", 1, "79.00")]
        assert bill(account, month=Month(2026, 11)) == []

    def test_a_closed_account_without_a_closing_day_pays_nothing(self):
        assert bill(make_account(status="closed", fees=(fee("79.00"),))) == []


class TestFamilies:
    def test_usage_is_added_before_the_tiers_and_fees_and_jobs_are_lines_of_their_own(self):
        job = Job(9, "Import", Decimal("640.00"), "done", datetime(2026, 10, 17))  # noqa: DTZ001
        parent = make_account(1, fees=(fee("149.00"),), tiers=STARTER, usage={"ST": 1_900_000})
        child = make_account(2, parent_acct_id=1, fees=(fee("89.00"),), jobs=(job,), usage={"ST": 300_000})
        assert child.bills_through_parent
        assert bill(parent, child) == [
            ("sub", 1, "149.00"),
            ("sub", 1, "89.00"),
            ("ST", 500_000, "0.00"),
            ("ST", 1_500_000, "1875.00"),
            ("ST", 200_000, "190.00"),
            ("managed", 1, "640.00"),
        ]

    def test_a_child_with_a_customer_of_its_own_has_invoices_of_its_own(self):
        child = make_account(2, parent_acct_id=1, stripe_customer_id="cus_legacyChild01")
        assert not child.bills_through_parent

    def test_a_child_that_starts_within_the_month_pays_for_its_days(self):
        start = date(2026, 10, 17)  # 15 of 31 days: 62 x 15 / 31 = 30
        child = make_account(2, parent_acct_id=1, created_on=start, fees=(fee("62.00", start),))
        assert bill(make_account(1, fees=(fee("149.00"),)), child) == [
            ("sub", 1, "149.00"),
            ("sub", 1, "30.00"),
        ]

    def test_a_suspended_child_adds_no_usage(self):
        parent = make_account(1, tiers=STARTER, usage={"ST": 100})
        child = make_account(2, parent_acct_id=1, status="suspended", fees=(fee("5.00"),), usage={"ST": 900})
        assert bill(parent, child) == [("sub", 1, "5.00"), ("ST", 100, "0.00")]

    def test_a_child_in_another_currency_is_refused(self):
        with pytest.raises(LegacyDataError, match="account 2 is in EUR"):
            bill(make_account(1), make_account(2, parent_acct_id=1, currency="EUR"))

    def test_an_open_child_of_a_closed_parent_is_refused(self):
        with pytest.raises(LegacyDataError, match="another parent"):
            bill(make_account(1, status="closed"), make_account(2, parent_acct_id=1))


class TestManagedJobs:
    @pytest.mark.parametrize(
        ("status", "completed_at", "billed"),
        [
            ("done", "2026-10-01T00:00:00", True),
            ("done", "2026-10-31T23:59:59", True),
            ("done", "2026-11-01T00:00:00", False),
            ("done", "2026-09-30T23:59:59", False),
            ("billed", "2026-10-15T12:00:00", False),
            ("open", None, False),
        ],
    )
    def test_billed_once_in_the_month_they_were_done(self, status, completed_at, billed):
        done = datetime.fromisoformat(completed_at) if completed_at else None
        account = make_account(jobs=(Job(5, "Tag audit", Decimal("480.10"), status, done),))
        expected = [
            Line("managed", "Managed service job 5: Tag audit", 1, Decimal("480.10"), Decimal("480.10"), 5)
        ]
        assert compute_invoice_lines(account, [], OCTOBER) == (expected if billed else [])

    def test_an_amount_that_the_currency_cannot_hold_is_refused(self):
        job = Job(5, "Tag audit", Decimal("480.10"), "done", datetime(2026, 10, 3))  # noqa: DTZ001
        with pytest.raises(LegacyDataError, match="job 5"):
            bill(make_account(currency="JPY", jobs=(job,)))
