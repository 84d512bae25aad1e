"""What a payer needs at Stripe, and when its subscription starts."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal

import pytest

from billing_worker.accounts.states import AccountStatus
from billing_worker.accounts.terms import AccountTerms
from billing_worker.core.periods import Period
from billing_worker.core.rating import Tier
from cohorts.provisioning import (
    CannotProvision,
    FlatItem,
    SubscriptionPlan,
    SubscriptionStart,
    compute_start,
    compute_subscription_plan,
)

OCTOBER = Period(2026, 10)
FIRST = datetime(2026, 10, 1, tzinfo=UTC)
TIERS = {"ST": (Tier(100_000, Decimal(0)), Tier(None, Decimal("0.24")))}


def make_terms(account_id: int, fee: str | None = None, **values: object) -> AccountTerms:
    return AccountTerms(
        **{  # type: ignore[arg-type]
            "account_id": account_id,
            "period": OCTOBER,
            "currency": "usd",
            "status": AccountStatus.ACTIVE,
            "is_billable": True,
            "flat_unit_amount_decimal": Decimal(fee) if fee else None,
            **values,
        }
    )


def plan(*terms: AccountTerms) -> SubscriptionPlan:
    return compute_subscription_plan(
        payer=terms[0], members={member.account_id: member for member in terms}, period=OCTOBER
    )


def test_equal_fees_share_an_item_and_the_payers_tiers_hold_for_all():
    found = plan(
        make_terms(1, "49900", tiers=TIERS), make_terms(3, "8900"), make_terms(2, "8900"), make_terms(4)
    )
    assert found.flat_items == (FlatItem(Decimal(49900), (1,)), FlatItem(Decimal(8900), (2, 3)))
    assert [item.quantity for item in found.flat_items] == [1, 2]
    assert (found.tiers, found.start_at, found.currency) == (TIERS, FIRST, "usd")


def test_a_payer_with_jobs_only_needs_no_subscription():
    assert plan(make_terms(1)).is_empty
    assert not plan(make_terms(1, tiers=TIERS)).is_empty


def test_a_suspended_payer_keeps_its_items():
    found = plan(make_terms(1, "14900", tiers=TIERS, status=AccountStatus.SUSPENDED))
    assert found.flat_items
    assert found.tiers


def test_an_account_that_starts_within_the_month():
    assert plan(make_terms(1, "24900", start_date=date(2026, 10, 12))).start_at == datetime(
        2026, 10, 12, tzinfo=UTC
    )


@pytest.mark.parametrize(
    ("terms", "why"),
    [
        ([make_terms(1, is_billable=False)], "account 1 owes nothing for 2026-10"),
        (
            [make_terms(1, "100"), make_terms(2, "100", start_date=date(2026, 10, 9))],
            "account 2 starts on 2026-10-09 but its payer 1 on 2026-10-01",
        ),
        # 99.99 x 16 / 31 = 51.6077: two of them 103.22 one by one, 103.215 -> 103.22 together; three differ
        (
            [make_terms(n, "9999", start_date=date(2026, 10, 16)) for n in (1, 2, 3)],
            "3 equal fees of the family of account 1 come to 15483 minor units one by one and to 15482",
        ),
    ],
)
def test_what_one_subscription_cannot_hold(terms, why):
    with pytest.raises(CannotProvision, match=why):
        plan(*terms)


class TestStart:
    def start(self, now: datetime, start_date: date | None = None) -> SubscriptionStart:
        return compute_start(plan(make_terms(1, "24900", start_date=start_date)), now=now)

    def test_on_the_first_itself_it_simply_starts(self):
        assert self.start(FIRST) == SubscriptionStart()

    def test_later_in_the_month_it_is_backdated_and_renews_on_the_first(self):
        assert self.start(datetime(2026, 10, 3, 12, tzinfo=UTC)) == SubscriptionStart(
            billing_cycle_anchor=datetime(2026, 11, 1, tzinfo=UTC), backdate_start_at=FIRST
        )

    def test_before_the_month_it_waits_without_charge(self):
        assert self.start(datetime(2026, 9, 25, tzinfo=UTC)) == SubscriptionStart(
            billing_cycle_anchor=FIRST, proration_behavior="none"
        )

    def test_an_account_that_starts_within_the_month_is_prorated_from_its_day(self):
        twelfth = datetime(2026, 10, 12, tzinfo=UTC)
        assert self.start(twelfth, date(2026, 10, 12)) == SubscriptionStart(
            billing_cycle_anchor=datetime(2026, 11, 1, tzinfo=UTC)
        )
        with pytest.raises(CannotProvision, match="provision it on that day or after"):
            self.start(FIRST, date(2026, 10, 12))

    def test_a_month_that_is_over(self):
        with pytest.raises(CannotProvision, match="2026-10 is over"):
            self.start(datetime(2026, 11, 1, tzinfo=UTC))
