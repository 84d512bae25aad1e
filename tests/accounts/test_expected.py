"""The expected ledger over real rows: families, suspension, closing, jobs."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest

from billing_worker.accounts.expected import compute_expected_ledger
from billing_worker.core.periods import Period
from tests.factories import (
    AccountFactory,
    AccountPlanFactory,
    CustomerAccountFactory,
    ManagedJobFactory,
    make_tiers,
)

pytestmark = pytest.mark.django_db
OCTOBER = Period(2026, 10)


def summarize(ledger):
    return {
        payer: [(line.kind, line.account_id, line.amount_minor) for line in lines]
        for payer, lines in ledger.items()
    }


def test_a_child_bills_through_its_parent_with_the_parents_tiers():
    parent = CustomerAccountFactory.create()
    child = AccountFactory.create(parent=parent)
    AccountPlanFactory.create(account=parent)
    AccountPlanFactory.create(account=child, unit_amount_decimal=9900)
    make_tiers(parent, "ST", (1000, "0"), (None, "0.5"))
    make_tiers(child, "ST", (None, "99"))
    ManagedJobFactory.create(account=child, amount_minor=5000)

    ledger = compute_expected_ledger(OCTOBER, usage={parent.pk: {"ST": 900}, child.pk: {"ST": 110}})

    assert summarize(ledger) == {
        parent.pk: [
            ("sub", parent.pk, 49900),
            ("sub", child.pk, 9900),
            ("ST", parent.pk, 0),
            ("ST", parent.pk, 5),
            ("managed", child.pk, 5000),
        ]
    }


def test_suspended_closed_young_and_empty_accounts():
    suspended = AccountFactory.create(status="suspended")
    closed = AccountFactory.create(status="closed", closed_at=datetime(2026, 9, 1, tzinfo=UTC))
    young = AccountFactory.create(opened_at=datetime(2026, 10, 12, 9, tzinfo=UTC))
    empty = AccountFactory.create()
    AccountPlanFactory.create(account=suspended)
    make_tiers(suspended, "ST", (None, "1"))
    AccountPlanFactory.create(account=closed)
    ManagedJobFactory.create(account=closed)
    AccountPlanFactory.create(account=young, effective_from=date(2026, 10, 12))

    ledger = compute_expected_ledger(OCTOBER, usage={suspended.pk: {"ST": 500}, closed.pk: {"ST": 500}})

    assert summarize(ledger) == {
        suspended.pk: [("sub", suspended.pk, 49900)],
        closed.pk: [],
        young.pk: [("sub", young.pk, 32194)],  # 20 of 31 days: 32193.5...
        empty.pk: [],
    }
    assert list(compute_expected_ledger(OCTOBER, usage={}, payer_ids=[young.pk])) == [young.pk]
