from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from billing_worker.accounts.selectors import (
    UnknownAccount,
    get_account_by_customer,
    get_biller,
    get_billers,
    get_billing_account,
    get_members,
    get_now_for,
    get_payer,
    get_terms,
    get_terms_for,
    select_jobs_due,
)
from billing_worker.accounts.states import Biller
from billing_worker.core.periods import Period
from billing_worker.core.rating import Tier
from tests.factories import (
    NOW,
    AccountFactory,
    AccountPlanFactory,
    BillingLeaseFactory,
    ClockFactory,
    CustomerAccountFactory,
    ManagedJobFactory,
    make_tiers,
)

pytestmark = pytest.mark.django_db
OCTOBER = Period(2026, 10)


def test_an_account_pays_for_itself_unless_it_has_a_parent_and_no_customer():
    parent = CustomerAccountFactory.create()
    child = AccountFactory.create(parent=parent)
    own = CustomerAccountFactory.create(parent=parent)
    grandchild = AccountFactory.create(parent=child)

    assert get_payer(parent) == parent
    assert get_payer(child) == parent
    assert get_payer(own) == own
    assert get_payer(grandchild) == parent
    assert get_members(parent) == [parent, child, grandchild]
    assert get_members(own) == [own]


def test_before_provisioning_there_is_a_billing_account_and_no_payer():
    parent = AccountFactory.create()
    child = AccountFactory.create(parent=parent)
    assert get_billing_account(child) == parent
    assert get_payer(child) is None


def test_customers_lead_back_to_their_accounts():
    account = CustomerAccountFactory.create(stripe_customer_id="cus_1")
    assert get_account_by_customer("cus_1") == account
    assert get_account_by_customer("cus_unknown") is None


def test_the_plan_of_the_first_holds_for_the_month():
    account = AccountFactory.create()
    AccountPlanFactory.create(account=account, unit_amount_decimal=9900, effective_to=date(2026, 10, 15))
    AccountPlanFactory.create(account=account, unit_amount_decimal=14900, effective_from=date(2026, 10, 15))

    assert get_terms(account.pk, OCTOBER).flat_unit_amount_decimal == 9900
    assert get_terms(account.pk, OCTOBER.next()).flat_unit_amount_decimal == 14900
    assert get_terms(account.pk, OCTOBER).start_date is None


def test_a_change_on_the_first_holds_from_that_month():
    account = AccountFactory.create()
    AccountPlanFactory.create(account=account, unit_amount_decimal=9900, effective_to=date(2026, 10, 1))
    AccountPlanFactory.create(account=account, unit_amount_decimal=14900, effective_from=date(2026, 10, 1))
    assert get_terms(account.pk, OCTOBER).flat_unit_amount_decimal == 14900


def test_an_account_that_starts_within_the_month_has_the_terms_of_its_start_day():
    account = AccountFactory.create(opened_at=datetime(2026, 10, 20, 23, 30, tzinfo=UTC))
    AccountPlanFactory.create(account=account, effective_from=date(2026, 10, 20))
    make_tiers(account, "ST", (1000, "0"), (None, "0.25"), effective_from=date(2026, 10, 20))

    terms = get_terms(account.pk, OCTOBER)

    assert (terms.start_date, terms.plan_name, terms.is_billable) == (date(2026, 10, 20), "Essential", True)
    assert terms.tiers == {"ST": (Tier(1000, Decimal(0)), Tier(None, Decimal("0.25")))}
    assert get_terms(account.pk, OCTOBER.next()).start_date is None
    assert get_terms(account.pk, OCTOBER.previous()).is_billable is False


def test_a_plan_that_starts_later_than_the_account_waits_for_the_next_first():
    account = AccountFactory.create(opened_at=datetime(2026, 10, 1, tzinfo=UTC))
    AccountPlanFactory.create(account=account, effective_from=date(2026, 10, 2))
    assert get_terms(account.pk, OCTOBER).flat_unit_amount_decimal is None


def test_a_closed_account_owes_nothing_after_its_closing_month():
    account = AccountFactory.create(status="closed", closed_at=datetime(2026, 9, 20, tzinfo=UTC))
    AccountPlanFactory.create(account=account, effective_to=date(2026, 9, 20))

    assert get_terms(account.pk, Period(2026, 9)).flat_unit_amount_decimal == 49900
    october = get_terms(account.pk, OCTOBER)
    assert (october.is_billable, october.flat_unit_amount_decimal) == (False, None)


def test_terms_of_many_take_three_queries():
    for _ in range(5):
        AccountPlanFactory.create()
    with CaptureQueriesContext(
        connection,
    ) as queries:
        terms = get_terms_for(OCTOBER)
    assert (len(terms), len(queries)) == (5, 3)
    wanted = next(iter(terms))
    assert get_terms_for(OCTOBER, account_ids=[wanted]) == {wanted: terms[wanted]}


def test_terms_of_an_unknown_account():
    with pytest.raises(UnknownAccount, match="there is no account 404"):
        get_terms(404, OCTOBER)


def test_no_lease_means_the_old_service_bills():
    lease = BillingLeaseFactory.create()
    other = AccountFactory.create()
    assert get_biller(lease.account_id, OCTOBER) == Biller.STRIPE
    assert get_biller(lease.account_id, OCTOBER.next()) == Biller.LEGACY
    assert get_billers(OCTOBER, account_ids=[lease.account_id, other.pk]) == {
        lease.account_id: Biller.STRIPE,
        other.pk: Biller.LEGACY,
    }


def test_accounts_on_a_test_clock_live_in_its_time():
    clock = ClockFactory.create(frozen_at=datetime(2026, 10, 31, 23, 30, tzinfo=UTC))
    parent = CustomerAccountFactory.create(test_clock=clock)
    assert get_now_for(parent, NOW) == clock.frozen_at
    assert get_now_for(AccountFactory.create(parent=parent), NOW) == clock.frozen_at
    assert get_now_for(AccountFactory.create(), NOW) == NOW


def test_jobs_done_in_the_month_are_due_once():
    due = ManagedJobFactory.create(completed_at=datetime(2026, 10, 31, 23, 59, 59, tzinfo=UTC))
    ManagedJobFactory.create(completed_at=datetime(2026, 11, 1, tzinfo=UTC))
    ManagedJobFactory.create(status="open", completed_at=None)
    ManagedJobFactory.create(status="billed")
    assert list(select_jobs_due(OCTOBER)) == [due]
    assert list(select_jobs_due(OCTOBER, account_ids=[])) == []
