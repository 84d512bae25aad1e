"""Define sampled meters, price their tiers, and say which tier an account is on. Each change is audited."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime

from django.db import IntegrityError, transaction

from billing_worker.accounts.audit import record_audit
from billing_worker.accounts.models import Account
from billing_worker.accounts.selectors import UnknownAccount
from billing_worker.catalog.keys import EVENT_NAMES, dump_tiers
from billing_worker.catalog.sampled.models import SampledMeter, SampledPlan, SampledPrice, SampledTier
from billing_worker.catalog.sampled.selectors import UnknownSampledMeter, get_sampled_meter
from billing_worker.catalog.sampled.states import BillingMode, BucketLength, SampledQuantity
from billing_worker.core.errors import Conflict, InvalidInput
from billing_worker.core.periods import Period
from billing_worker.core.rating import Tier, validate_tiers

_NAME = re.compile(r"[a-z][a-z0-9_]{0,19}")
_TIER_NAME = re.compile(r"[a-z0-9][a-z0-9_]{0,18}")
_CURRENCY = re.compile(r"[a-z]{3}")

#: Prices of a tier by currency; empty where Stripe's prices are made elsewhere.
PriceTables = Mapping[str, Sequence[Tier]]


class SampledMeterExists(Conflict):
    """The name is taken. A sampled meter is never redefined: samples are stored by its definition. Choose another."""

    code = "sampled_meter_exists"


class PlanInForce(Conflict):
    """The account's samples of that month may be stored under its present tier. Begin with a month to come."""

    code = "plan_in_force"


@transaction.atomic
def define_sampled_meter(
    *,
    name: str,
    title: str,
    quantity: SampledQuantity,
    billing_mode: BillingMode,
    bucket: BucketLength,
    tiers: Mapping[str, PriceTables],
    actor: str,
    reason: str,
    now: datetime,
) -> SampledMeter:
    """A new sampled meter with its plan tiers: `{"pro": {"usd": [Tier(...)]}}`, or `{"": {...}}` where unified.

    Its Stripe meters, products and prices are made by the next `catalog_apply`.

    Raises:
        InvalidInput: a name, tier or price that can't be, or no reason.
        SampledMeterExists: the name is taken.
    """
    _check_reason(reason)
    if not _NAME.fullmatch(name):
        raise InvalidInput(
            f"{name!r} can't be a meter's name: small letters, digits and _, at most 20",
            fields={"name": ["is not a name"]},
        )
    if not title.strip() or len(title) > 60:
        raise InvalidInput("a title has 1 to 60 characters", fields={"title": ["is not a title"]})
    if not tiers or (billing_mode == BillingMode.UNIFIED) != (set(tiers) == {""}):
        raise InvalidInput(
            "a per_tier meter has one or more named tiers, a unified one a single tier without a name",
            fields={"tiers": ["do not fit the billing mode"]},
        )
    if SampledMeter.objects.filter(name=name).exists():
        raise SampledMeterExists(f"there is a sampled meter {name} already: it is never redefined")
    meter = SampledMeter.objects.create(
        name=name,
        title=title.strip(),
        quantity=quantity,
        billing_mode=billing_mode,
        bucket=bucket,
        created_at=now,
    )
    for tier_name, prices in tiers.items():
        _create_tier(meter, tier_name, prices)
    record_audit(
        actor=actor,
        action="catalog.sampled_meter_defined",
        subject_type="sampled_meter",
        subject_id=name,
        at=now,
        reason=reason,
        after={
            "quantity": quantity.value,
            "billing_mode": billing_mode.value,
            "bucket": bucket.value,
            "tiers": {key: _describe(prices) for key, prices in tiers.items()},
        },
    )
    return meter


@transaction.atomic
def add_sampled_tier(
    *, meter: str, name: str, prices: PriceTables, actor: str, reason: str, now: datetime
) -> SampledTier:
    """One more plan tier for a per_tier meter. A price is never changed, so this is also how a new one comes.

    Raises:
        UnknownSampledMeter: there is no such meter.
        InvalidInput: it is unified, the name can't be or is taken, a price can't be, or no reason.
    """
    _check_reason(reason)
    found = get_sampled_meter(meter)
    if found.billing_mode == BillingMode.UNIFIED:
        raise InvalidInput(f"{meter} is unified: it has one tier", fields={"name": ["is not possible"]})
    tier = _create_tier(found, name, prices)
    record_audit(
        actor=actor,
        action="catalog.sampled_tier_added",
        subject_type="sampled_meter",
        subject_id=meter,
        at=now,
        reason=reason,
        after={"tier": name, "prices": _describe(prices)},
    )
    return tier


@transaction.atomic
def set_sampled_plan(
    *,
    account_id: int,
    meter: str,
    tier: str | None,
    from_period: Period,
    actor: str,
    reason: str,
    now: datetime,
) -> SampledPlan:
    """From the month on, the account's samples of the meter are billed on `tier` (empty if unified, None = refused).

    The first plan of an account may begin with any month. After that only months to come can change, because samples
    are stored under the tier that was in force. Saying the same twice changes nothing.

    Raises:
        UnknownAccount, UnknownSampledMeter: no such account, meter or tier.
        PlanInForce: the month has begun.
        InvalidInput: no reason.
    """
    _check_reason(reason)
    if not Account.objects.select_for_update().filter(pk=account_id).exists():
        raise UnknownAccount(f"there is no account {account_id}: import it, or correct the id")
    found = get_sampled_meter(meter)
    wanted = None if tier is None else SampledTier.objects.filter(meter=found, name=tier).first()
    if tier is not None and wanted is None:
        raise UnknownSampledMeter(f"{meter} has no tier {tier!r}: add it, or correct the name")
    plans = SampledPlan.objects.filter(account=account_id, meter=found)
    before = plans.filter(from_period__lte=str(from_period)).order_by("-from_period").first()
    if before and before.tier_id == (wanted.pk if wanted else None):
        return before
    if plans.exists() and from_period <= Period.of(now):
        raise PlanInForce(
            f"account {account_id} has a plan for {meter} and {from_period} has begun: begin with a later month"
        )
    plan, _ = SampledPlan.objects.update_or_create(
        account_id=account_id, meter=found, from_period=str(from_period), defaults={"tier": wanted}
    )
    record_audit(
        actor=actor,
        action="catalog.sampled_plan_set",
        subject_type="account",
        subject_id=account_id,
        at=now,
        reason=reason,
        before={"tier": before.tier.event_name if before and before.tier else None},
        after={"meter": meter, "from_period": str(from_period), "tier": str(wanted) if wanted else None},
    )
    return plan


def _create_tier(meter: SampledMeter, name: str, prices: PriceTables) -> SampledTier:
    if (name or meter.billing_mode == BillingMode.PER_TIER) and not _TIER_NAME.fullmatch(name):
        raise InvalidInput(
            f"{name!r} can't be a tier's name: small letters, digits and _, at most 19",
            fields={"tiers": ["have a name that can't be"]},
        )
    event_name = f"{meter.name}_{name}" if name else meter.name
    taken = InvalidInput(
        f"the event name {event_name} is taken: choose another name", fields={"name": ["is taken"]}
    )
    if event_name in EVENT_NAMES.values():
        raise taken
    try:
        with transaction.atomic():
            tier = SampledTier.objects.create(meter=meter, name=name, event_name=event_name)
    except IntegrityError:
        raise taken from None
    for currency, table in prices.items():
        if not _CURRENCY.fullmatch(currency):
            raise InvalidInput(f"{currency!r} is not a currency", fields={"tiers": ["have no such currency"]})
        validate_tiers(table)
        SampledPrice.objects.create(tier=tier, currency=currency, tiers=dump_tiers(table))
    return tier


def _check_reason(reason: str) -> None:
    if not reason.strip():
        raise InvalidInput("say why: it is audited", fields={"reason": ["is required"]})


def _describe(prices: PriceTables) -> dict[str, object]:
    return {currency: dump_tiers(table) for currency, table in prices.items()}
