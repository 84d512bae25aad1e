"""Set a cohort up at Stripe: customers and subscriptions, once, whatever is interrupted and repeated."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from django.db import transaction

from billing_worker import gateway
from billing_worker.accounts.audit import record_audit
from billing_worker.accounts.models import Account, TestClock
from billing_worker.accounts.selectors import get_families, get_terms_for
from billing_worker.accounts.services import link_customer
from billing_worker.alerts.services import raise_alert, resolve_alert
from billing_worker.alerts.states import AlertName, Severity
from billing_worker.catalog.sampled.selectors import get_sampled_tiers
from billing_worker.catalog.selectors import (
    NotInCatalog,
    get_flat_price,
    get_sampled_price,
    get_tier_price,
)
from billing_worker.core.errors import BillingError
from billing_worker.core.periods import Period
from billing_worker.customers.services import follow_customers
from billing_worker.customers.wanted import build_address, build_wanted
from cohorts.models import Cohort, CohortMember
from cohorts.provisioning import (
    CannotProvision,
    SubscriptionPlan,
    SubscriptionStart,
    compute_start,
    compute_subscription_plan,
)
from cohorts.selectors import get_payers
from cohorts.services.clocks import assign_clocks
from cohorts.services.lifecycle import WrongCohortState
from cohorts.states import CohortState, ProvisioningState

CollectionMethod = Literal["charge_automatically", "send_invoice"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProvisioningOptions:
    """How the cohort's customers pay, and whether they live on test clocks (test mode only)."""

    collection_method: CollectionMethod = "charge_automatically"
    days_until_due: int = 30
    use_test_clocks: bool = False
    test_payment_method: str | None = None


@dataclass(frozen=True, slots=True)
class _Order:
    """Everything that one payer's calls need, worked out before the first call for any payer."""

    payer: Account
    member_ids: tuple[int, ...]
    plan: SubscriptionPlan
    items: tuple[gateway.SubscriptionItemSpec, ...]


def provision_cohort(
    *,
    cohort_id: int,
    period: Period,
    options: ProvisioningOptions,
    actor: str,
    now: datetime,
    track: Callable[[list[Account]], Iterable[Account]] = iter,
) -> Cohort:
    """Give every payer of the cohort a customer and a subscription that bills from `period` on; then it is ready.

    Every payer's terms are looked at before anything is created. Safe to interrupt and to repeat: each step is kept as
    soon as Stripe has answered, and every creation carries an idempotency key made from the account and the period, so
    that a repeat finds what the first try made. Not to be called in a transaction.

    Raises:
        WrongCohortState: it was provisioned already.
        CannotProvision: some accounts' terms can't be served; nothing was created, the message lists them all.
        GatewayError: Stripe refused or did not answer; the payers before keep what they have.
    """
    cohort = Cohort.objects.get(pk=cohort_id)
    if cohort.state != CohortState.DRAFT:
        raise WrongCohortState(
            f"cohort {cohort.name} is in state {cohort.get_state_display().lower()}: only a draft is provisioned"
        )
    member_ids = frozenset(cohort.members.values_list("account_id", flat=True))
    orders = _prepare_orders(payers=get_payers(cohort), period=period, member_ids=member_ids)
    _refuse_ending(orders.values())
    clocks: dict[int, TestClock] = {}
    if options.use_test_clocks:
        plans = {pk: order.plan for pk, order in orders.items()}
        clocks = assign_clocks(cohort=cohort, plans=plans, payers=[order.payer for order in orders.values()])
    for payer in track([order.payer for order in orders.values()]):
        try:
            _provision_payer(
                cohort=cohort, order=orders[payer.pk], clock=clocks.get(payer.pk), options=options, now=now
            )
        except BillingError as error:
            _record_failure(cohort=cohort, payer=payer, error=error, now=now)
            raise
    resolve_alert(name=AlertName.PROVISIONING_FAILED, subject=f"cohort {cohort.name}", now=now)
    return _finish(cohort=cohort, period=period, actor=actor, now=now)


def _prepare_orders(
    *, payers: Sequence[Account], period: Period, member_ids: frozenset[int]
) -> dict[int, _Order]:
    """Plans and prices of all payers; one error that lists every problem."""
    families = get_families([payer.pk for payer in payers])
    terms = get_terms_for(period, account_ids=[pk for family in families.values() for pk in family])
    orders, problems = {}, []
    for payer in payers:
        family = families[payer.pk]
        try:
            plan = compute_subscription_plan(
                payer=terms[payer.pk], members={pk: terms[pk] for pk in family}, period=period
            )
            items = (*_build_items(plan), *_build_sampled_items(family, plan))
            orders[payer.pk] = _Order(payer, tuple(pk for pk in family if pk in member_ids), plan, items)
        except (CannotProvision, NotInCatalog) as error:
            problems.append(str(error))
    if problems:
        raise CannotProvision("; ".join(problems))
    return orders


def _build_items(plan: SubscriptionPlan) -> Iterable[gateway.SubscriptionItemSpec]:
    for item in plan.flat_items:
        yield gateway.SubscriptionItemSpec(
            price=get_flat_price(plan.currency, item.unit_amount_decimal).stripe_price_id,
            quantity=item.quantity,
            metadata={"account_ids": ",".join(str(pk) for pk in item.account_ids)[:500]},
        )
    for usage_type, tiers in plan.tiers.items():
        yield gateway.SubscriptionItemSpec(
            price=get_tier_price(usage_type, plan.currency, tiers).stripe_price_id
        )


def _build_sampled_items(
    family: Sequence[int], plan: SubscriptionPlan
) -> Iterable[gateway.SubscriptionItemSpec]:
    """The prices of the sampled meters that anybody of the family is on, where any are configured."""
    for tier in get_sampled_tiers(family, plan.period):
        price = get_sampled_price(tier.event_name, plan.currency)
        if price is not None:
            yield gateway.SubscriptionItemSpec(price=price.stripe_price_id)


def _refuse_ending(orders: Iterable[_Order]) -> None:
    """Ask Stripe about accounts that move again: a subscription that still runs, and ends, may be in the way.

    Usage belongs to a customer, so a new subscription beside one that still runs would bill the same usage again.
    """
    by_id = {order.payer.pk: order for order in orders if order.payer.stripe_customer_id}
    again = CohortMember.objects.filter(account__in=by_id, released_at__isnull=False)
    problems = []
    for payer_id in sorted(set(again.values_list("account_id", flat=True))):
        order = by_id[payer_id]
        found = _find_subscription(order=order, customer_id=order.payer.stripe_customer_id or "")
        if found and found.cancel_at and found.cancel_at != order.plan.start_at:
            problems.append(
                f"account {payer_id} has a subscription until {found.cancel_at:%Y-%m-%d}: provision it from that month"
                " on, or once it has ended"
            )
    if problems:
        raise CannotProvision("; ".join(problems))


def _provision_payer(
    *,
    cohort: Cohort,
    order: _Order,
    clock: TestClock | None,
    options: ProvisioningOptions,
    now: datetime,
) -> None:
    members = CohortMember.objects.filter(cohort=cohort, account_id__in=order.member_ids)
    if not members.exclude(provisioning=ProvisioningState.PROVISIONED).exists():
        return
    _start(cohort=cohort, order=order)
    there = clock.frozen_at if clock else now
    start = compute_start(order.plan, now=there)
    is_new = order.payer.stripe_customer_id is None
    customer_id = order.payer.stripe_customer_id or _create_customer(payer=order.payer, clock=clock, now=now)
    members.update(provisioning=ProvisioningState.CUSTOMER, provisioning_error="")
    if options.test_payment_method:
        gateway.attach_payment_method(customer=customer_id, payment_method=options.test_payment_method)
    subscription_id = None if is_new else _take_existing(order=order, customer_id=customer_id)
    if subscription_id is None and order.items:
        subscription_id = _create_subscription(
            order=order, customer_id=customer_id, start=start, options=options
        )
    kept = members.update(
        provisioning=ProvisioningState.PROVISIONED,
        stripe_subscription_id=subscription_id or "",
        provisioned_at=now,
    )
    if not kept and subscription_id:
        raise CannotProvision(
            f"account {order.payer.pk} left the cohort while it was set up: Stripe has {subscription_id}. Add it again,"
            " or cancel that there"
        )


@transaction.atomic
def _start(*, cohort: Cohort, order: _Order) -> None:
    """Note before Stripe is asked that the family is being set up: from here on it stays in the cohort.

    Raises:
        CannotProvision: it is no longer whole in the draft; somebody changed the members meanwhile.
    """
    Cohort.objects.select_for_update().get(pk=cohort.pk)
    members = CohortMember.objects.filter(cohort=cohort, account__in=order.member_ids)
    if members.count() != len(order.member_ids):
        raise CannotProvision(f"the members of cohort {cohort.name} have changed: provision it again")
    members.filter(provisioning=ProvisioningState.PENDING).update(provisioning=ProvisioningState.STARTED)


def _take_existing(*, order: _Order, customer_id: str) -> str | None:
    """The subscription that an earlier try made, or that a rollback was to end just where this cohort begins."""
    found = _find_subscription(order=order, customer_id=customer_id)
    if found is not None and found.cancel_at == order.plan.start_at:
        key = f"subscription-goes-on:{found.id}:{order.plan.start_at:%Y-%m-%d}"
        gateway.change_subscription(found.id, cancel_at="", idempotency_key=key)
    return found.id if found else None


def _find_subscription(*, order: _Order, customer_id: str) -> gateway.Subscription | None:
    """The payer's running one: idempotency keys live a day, a repeat may come later."""
    account_id = str(order.payer.pk)
    return next(
        (
            subscription
            for subscription in gateway.list_subscriptions(customer_id)
            if subscription.metadata.get("account_id") == account_id and subscription.ended_at is None
        ),
        None,
    )


def _create_subscription(
    *, order: _Order, customer_id: str, start: SubscriptionStart, options: ProvisioningOptions
) -> str:
    return gateway.create_subscription(
        customer=customer_id,
        items=order.items,
        billing_cycle_anchor=start.billing_cycle_anchor,
        backdate_start_at=start.backdate_start_at,
        proration_behavior=start.proration_behavior,
        collection_method=options.collection_method,
        days_until_due=options.days_until_due if options.collection_method == "send_invoice" else None,
        metadata={"account_id": str(order.payer.pk)},
        description=f"Platform services for {order.payer.name}"[:500],
        idempotency_key=f"subscription:{customer_id}:{order.plan.start_at:%Y-%m-%d}",
    ).id


def _create_customer(*, payer: Account, clock: TestClock | None, now: datetime) -> str:
    wanted = build_wanted(payer)
    customer = gateway.create_customer(
        name=wanted["name"],
        email=wanted["email"],
        address=build_address(payer),
        metadata={"account_id": str(payer.pk)},
        test_clock=clock.stripe_test_clock_id if clock else None,
        preferred_locales=wanted["preferred_locales"],
        tax_ids=[gateway.TaxId(**wanted["tax_id"])] if wanted["tax_id"] else [],
        idempotency_key=f"customer:{payer.pk}:{clock.stripe_test_clock_id if clock else 'live'}",
    )
    with transaction.atomic():
        link_customer(
            account_id=payer.pk,
            stripe_customer_id=customer.id,
            test_clock=clock,
            actor="command:provision_cohort",
            now=now,
        )
        follow_customers(account_ids=[payer.pk], written=wanted)
    return customer.id


def _record_failure(*, cohort: Cohort, payer: Account, error: BillingError, now: datetime) -> None:
    CohortMember.objects.filter(account=payer).update(provisioning_error=str(error)[:500])
    raise_alert(
        name=AlertName.PROVISIONING_FAILED,
        severity=Severity.WARNING,
        subject=f"cohort {cohort.name}",
        detail=f"account {payer.pk}: {error}",
        now=now,
    )


@transaction.atomic
def _finish(*, cohort: Cohort, period: Period, actor: str, now: datetime) -> Cohort:
    Cohort.objects.select_for_update().get(pk=cohort.pk)
    if cohort.members.exclude(provisioning=ProvisioningState.PROVISIONED).exists():
        raise CannotProvision(f"cohort {cohort.name} has got more members meanwhile: provision it again")
    moved = Cohort.objects.filter(pk=cohort.pk, state=CohortState.DRAFT).update(
        state=CohortState.READY, ready_at=now, dual_run_period=str(period)
    )
    if moved:
        record_audit(
            actor=actor, action="cohort.provisioned", subject_type="cohort", subject_id=cohort.pk, at=now,
            after={"period": str(period), "accounts": cohort.members.count()},
        )  # fmt: skip
    cohort.refresh_from_db()
    return cohort
