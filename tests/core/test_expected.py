from __future__ import annotations

from datetime import date
from decimal import Decimal

from billing_worker.core.expected import BilledAccount, ExactJob, ExpectedLine, compute_expected_lines
from billing_worker.core.periods import Period
from billing_worker.core.rating import Tier, UsageType

OCTOBER = Period(2026, 10)
TIERS: dict[UsageType, list[Tier]] = {
    "ST": [Tier(1000, Decimal(0)), Tier(None, Decimal("0.25"))],
    "CV": [Tier(None, Decimal("1.5"))],
}


def test_a_family_month_on_one_invoice():
    payer = BilledAccount(
        account_id=1, flat_unit_amount_decimal=Decimal(49900), usage={"ST": 900}, jobs=[ExactJob("7", 125000)]
    )
    young = BilledAccount(
        account_id=3, flat_unit_amount_decimal=Decimal(9900), start_date=date(2026, 10, 17),
        usage={"ST": 110, "RM": 50}, jobs=[ExactJob("8", -500)],
    )  # fmt: skip
    quiet = BilledAccount(account_id=2, usage={"CV": 3})

    lines = compute_expected_lines(period=OCTOBER, payer=payer, children=[young, quiet], tiers=TIERS)

    assert lines == [
        ExpectedLine("sub", 1, 1, Decimal(49900), 49900),
        ExpectedLine("sub", 3, 1, Decimal(9900), 4790),  # 15 of 31 days: 4790.3...
        ExpectedLine("ST", 1, 1000, Decimal(0), 0, 0),
        ExpectedLine("ST", 1, 10, Decimal("0.25"), 3, 1),  # 2.5 cents
        ExpectedLine("CV", 1, 3, Decimal("1.5"), 5, 0),  # 4.5 cents
        ExpectedLine("managed", 1, 1, Decimal(125000), 125000, None, "7"),
        ExpectedLine("managed", 3, 1, Decimal(-500), -500, None, "8"),
    ]


def test_a_suspended_account_pays_the_fee_and_adds_no_usage():
    payer = BilledAccount(account_id=1, usage={"CV": 10})
    child = BilledAccount(
        account_id=2, is_suspended=True, flat_unit_amount_decimal=Decimal(9900), usage={"CV": 90}
    )

    lines = compute_expected_lines(period=OCTOBER, payer=payer, children=[child], tiers=TIERS)

    assert [(line.kind, line.account_id, line.quantity, line.amount_minor) for line in lines] == [
        ("sub", 2, 1, 9900),
        ("CV", 1, 10, 15),
    ]


def test_under_a_suspended_payer_nobody_pays_usage():
    payer = BilledAccount(account_id=1, is_suspended=True, flat_unit_amount_decimal=Decimal(100))
    child = BilledAccount(account_id=2, usage={"CV": 90})

    lines = compute_expected_lines(period=OCTOBER, payer=payer, children=[child], tiers=TIERS)

    assert [line.kind for line in lines] == ["sub"]


def test_no_plan_no_usage_no_jobs_no_lines():
    assert compute_expected_lines(period=OCTOBER, payer=BilledAccount(account_id=1), tiers=TIERS) == []
