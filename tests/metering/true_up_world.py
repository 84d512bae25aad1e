"""A payer whose October is billed, and usage of it that comes later."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from billing_worker.accounts.models import Account
from billing_worker.core.money import round_half_up
from billing_worker.mirror.models import StripeInvoice
from metering.models import MeterEvent
from metering.services.ingest import store_usage
from metering.services.roll_up import roll_up_usage
from metering.services.sending.claims import assign_customers
from metering.true_ups.billed import record_billed_usage
from metering.true_ups.models import TrueUp
from metering.true_ups.proposing import ProposalResult, propose_true_ups
from tests.factories import BillingLeaseFactory, CustomerAccountFactory, make_tiers
from tests.metering.factories import LIVE, make_input
from tests.reconciliation.factories import add_stripe_invoice, make_stripe_line

#: Five days after the month, four after its invoice was finalized.
NOW = datetime(2026, 11, 6, 12, tzinfo=UTC)
FINALIZED = datetime(2026, 11, 1, 1, tzinfo=UTC)
RATES = (("0", 100_000), ("0.2", 200_000), ("0.1255", None))


def make_payer(**changes: Any) -> Account:
    """ST: 100,000 free, up to 300,000 at 2.00 a thousand, above at 1.255 a thousand. Leased to Stripe in October."""
    payer = CustomerAccountFactory.create(**changes)
    make_tiers(payer, "ST", (100_000, "0"), (300_000, "0.2"), (None, "0.1255"))
    BillingLeaseFactory.create(account=payer)
    return payer


def bill(payer: Account, *, units: int = 250_000, record: bool = True, **changes: Any) -> StripeInvoice:
    """The finalized invoice of October's ST units: one line for each tier, as Stripe makes them."""
    lines, left = [], units
    for rate, size in RATES:
        quantity = left if size is None else min(left, size)
        amount = round_half_up(quantity * Decimal(rate))
        if quantity or rate == "0":
            lines.append(
                make_stripe_line(
                    "ST",
                    amount,
                    quantity=quantity,
                    unit_amount_decimal=Decimal(rate),
                    subscription_item="si_1",
                )
            )
        left -= quantity
    invoice = add_stripe_invoice(
        payer, *lines, **{"finalized_at": FINALIZED, "billing_reason": "subscription_cycle", **changes}
    )
    if record:
        record_billed_usage(invoice=invoice, now=FINALIZED)
    return invoice


def tell(
    account: Account, quantity: int, *, day: str = "2026-10-30", reason: str = "", kind: str = "ST"
) -> None:
    """State usage and roll it up, as the roll-up does every quarter of an hour."""
    (outcome,) = store_usage(
        records=[make_input(account.pk, day, kind, quantity, reason)], author="key", now=NOW
    )
    assert outcome.status in {"created", "restated"}, outcome
    for _ in roll_up_usage(now=NOW, grace=timedelta(hours=1), seam=LIVE):
        pass
    assign_customers()


def propose(**narrowed: Any) -> list[TrueUp]:
    """What is proposed now, oldest first."""
    result = ProposalResult()
    for result in propose_true_ups(now=NOW, **narrowed):  # noqa: B007
        pass
    return list(TrueUp.objects.filter(pk__in=result.true_ups).order_by("pk"))


def list_states() -> dict[str, str]:
    return dict(MeterEvent.objects.order_by("pk").values_list("identifier", "state"))
