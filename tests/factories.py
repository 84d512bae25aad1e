"""The smallest valid objects of the ground floor. Each app adds its own in `tests/<app>/factories.py`.

Call `AccountFactory.create(...)`: the type checker knows what it returns.
"""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from factory.declarations import LazyAttribute, Sequence, SubFactory
from factory.django import DjangoModelFactory

from billing_worker.accounts import models
from billing_worker.accounts.states import AccountStatus, Biller, JobStatus

#: The instant at which tests live unless they say otherwise: two days into the dual-run month.
NOW = datetime(2026, 10, 3, 12, tzinfo=UTC)


class ClockFactory(DjangoModelFactory[models.TestClock]):
    class Meta:
        model = models.TestClock

    stripe_test_clock_id = Sequence(lambda n: f"clock_{n}")
    frozen_at = datetime(2026, 10, 1, tzinfo=UTC)


class AccountFactory(DjangoModelFactory[models.Account]):
    """An active account since 2020 in dollars, without plan, parent or Stripe customer."""

    class Meta:
        model = models.Account

    id = Sequence(lambda n: 5001 + n)
    name = LazyAttribute(lambda account: f"Example {account.id} Ltd")
    status = AccountStatus.ACTIVE
    billing_email = LazyAttribute(lambda account: f"billing-{account.id}@example.com")
    currency = "usd"
    opened_at = datetime(2020, 1, 1, tzinfo=UTC)
    imported_at = NOW


class CustomerAccountFactory(AccountFactory):
    """An account that already has its Stripe customer."""

    stripe_customer_id = LazyAttribute(lambda account: f"cus_{account.id}")


class AccountPlanFactory(DjangoModelFactory[models.AccountPlan]):
    """A flat fee of 499.00 a month since 2020."""

    class Meta:
        model = models.AccountPlan

    account = SubFactory(AccountFactory)
    plan_name = "Essential"
    unit_amount_decimal = Decimal(49900)
    effective_from = date(2020, 1, 1)


class AccountTierFactory(DjangoModelFactory[models.AccountTier]):
    """A single open tier of 2.00 dollars per 1,000 (0.2 cents each) since 2020."""

    class Meta:
        model = models.AccountTier

    account = SubFactory(AccountFactory)
    usage_type = "ST"
    tier_from = 0
    tier_to = None
    unit_amount_decimal = Decimal("0.2")
    effective_from = date(2020, 1, 1)


class ManagedJobFactory(DjangoModelFactory[models.ManagedJob]):
    """A job of 1,250.00 that was done within October 2026."""

    class Meta:
        model = models.ManagedJob

    id = Sequence(lambda n: 9001 + n)
    account = SubFactory(AccountFactory)
    title = "Landing page"
    amount_minor = 125000
    currency = LazyAttribute(lambda job: job.account.currency)
    status = JobStatus.DONE
    completed_at = datetime(2026, 10, 12, 15, 30, tzinfo=UTC)


class BillingLeaseFactory(DjangoModelFactory[models.BillingLease]):
    """October 2026 is billed by Stripe."""

    class Meta:
        model = models.BillingLease

    account = SubFactory(AccountFactory)
    period = "2026-10"
    biller = Biller.STRIPE
    changed_at = NOW


def make_tiers(
    account: models.Account, usage_type: str, *steps: tuple[int | None, str], **dates: Any
) -> list[models.AccountTier]:
    """A tier table from `(last unit inclusive or None, minor units per unit)` steps."""
    rows, lower = [], 0
    for upper, rate in steps:
        rows.append(
            AccountTierFactory.create(
                account=account,
                usage_type=usage_type,
                tier_from=lower,
                tier_to=upper,
                unit_amount_decimal=Decimal(rate),
                **dates,
            )
        )
        lower = upper or lower
    return rows


def make_service_key(*scopes: str) -> str:
    """The plain text of a new service key with these scopes (default `usage:write`)."""
    _, plain = models.ServiceKey.objects.create_key(name="test", scopes=list(scopes or ("usage:write",)))
    return str(plain)
