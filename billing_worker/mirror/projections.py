"""How each kind of Stripe object becomes a row of ours."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from django.db import models

from billing_worker import gateway
from billing_worker.gateway import CreditNote, Invoice, Subscription
from billing_worker.mirror.credit_lines import write_credit_lines, write_invoice_parts
from billing_worker.mirror.models import StripeCreditNote, StripeInvoice, StripeSubscription
from billing_worker.mirror.states import CREDIT_NOTE_RANK, INVOICE_RANK, SUBSCRIPTION_ENDS


@dataclass(frozen=True, slots=True, kw_only=True)
class Projection:
    """One kind: how it is read, parsed and written, and which change of status can't be news."""

    kind: str
    model: type[models.Model]
    id_field: str
    read: Callable[[str], Any]
    parse: Callable[[Mapping[str, Any]], Any]
    describe: Callable[[Any], dict[str, Any]]
    #: `(present status, told status)`: would this move the object back?
    is_back: Callable[[str, str], bool]
    is_cut_short: Callable[[Any], bool]
    #: `(row, content, is_new=)`: what belongs to a row and lies in other tables.
    write_parts: Callable[..., None]


def _describe_invoice(invoice: Invoice) -> dict[str, Any]:
    copied = (
        "customer status currency subtotal_minor total_minor total_tax_minor inclusive_tax_minor "
        "total_excluding_tax_minor total_discount_minor amount_due_minor "
        "amount_paid_minor amount_remaining_minor starting_balance_minor ending_balance_minor billing_reason "
        "collection_method auto_advance attempt_count period_start period_end created_at finalized_at due_at paid_at "
        "voided_at next_payment_attempt_at hosted_invoice_url"
    ).split()
    return {
        **{name: getattr(invoice, name) for name in copied},
        "number": invoice.number or "",
        "subscription": invoice.subscription or "",
        "test_clock": invoice.test_clock or "",
        "customer_details": {
            "name": invoice.customer_name,
            "email": invoice.customer_email,
            "address": asdict(invoice.customer_address) if invoice.customer_address else {},
        },
        "customer_tax_ids": [
            {"type": tax_id.type, "value": tax_id.value} for tax_id in invoice.customer_tax_ids
        ],
        "customer_tax_exempt": invoice.customer_tax_exempt,
        "metadata": dict(invoice.metadata),
        "lines_complete": not invoice.has_more_lines,
    }


def _describe_subscription(subscription: Subscription) -> dict[str, Any]:
    copied = (
        "customer status currency collection_method billing_cycle_anchor_at created_at started_at "
        "cancel_at_period_end cancel_at canceled_at ended_at"
    ).split()
    first = subscription.items[0] if subscription.items else None
    return {
        **{name: getattr(subscription, name) for name in copied},
        "current_period_start": first.period_start if first else None,
        "current_period_end": first.period_end if first else None,
        "test_clock": subscription.test_clock or "",
        "items": [
            {
                "id": item.id,
                "price": item.price,
                "product": item.product,
                "quantity": item.quantity,
                "metadata": dict(item.metadata),
            }
            for item in subscription.items
        ],
        "metadata": dict(subscription.metadata),
    }


def _describe_credit_note(note: CreditNote) -> dict[str, Any]:
    copied = (
        "customer number status currency amount_minor subtotal_minor total_minor total_tax_minor inclusive_tax_minor "
        "total_excluding_tax_minor total_discount_minor "
        "pre_payment_minor post_payment_minor refunded_minor out_of_band_minor reason memo created_at effective_at "
        "voided_at"
    ).split()
    return {
        **{name: getattr(note, name) for name in copied},
        "stripe_invoice_id": note.invoice,
        "metadata": dict(note.metadata),
        "lines_complete": not note.has_more_lines,
    }


def _has_no_parts(row: Any, content: Any, *, is_new: bool) -> None:
    """Subscriptions' items are a field of their row."""


#: By Stripe's name of the object.
PROJECTIONS = {
    projection.kind: projection
    for projection in (
        Projection(
            kind="invoice",
            model=StripeInvoice,
            id_field="stripe_invoice_id",
            read=gateway.get_invoice,
            parse=gateway.parse_invoice,
            describe=_describe_invoice,
            is_back=lambda present, told: INVOICE_RANK.get(told, 0) < INVOICE_RANK.get(present, 0),
            is_cut_short=lambda invoice: invoice.has_more_lines,
            write_parts=write_invoice_parts,
        ),
        Projection(
            kind="subscription",
            model=StripeSubscription,
            id_field="stripe_subscription_id",
            read=gateway.get_subscription,
            parse=gateway.parse_subscription,
            describe=_describe_subscription,
            is_back=lambda present, told: present in SUBSCRIPTION_ENDS and told not in SUBSCRIPTION_ENDS,
            is_cut_short=lambda subscription: False,
            write_parts=_has_no_parts,
        ),
        Projection(
            kind="credit_note",
            model=StripeCreditNote,
            id_field="stripe_credit_note_id",
            read=gateway.get_credit_note,
            parse=gateway.parse_credit_note,
            describe=_describe_credit_note,
            is_back=lambda present, told: CREDIT_NOTE_RANK.get(told, 0) < CREDIT_NOTE_RANK.get(present, 0),
            is_cut_short=lambda note: note.has_more_lines,
            write_parts=write_credit_lines,
        ),
    )
}
