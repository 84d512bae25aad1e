"""What was tried to collect an invoice: the charges of its payments."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from billing_worker.gateway.parsing import get_id, parse_instant
from billing_worker.gateway.transport import call, iterate, make_path
from billing_worker.gateway.types import InvoicePayment, PaymentAttempt

if TYPE_CHECKING:
    from stripe.params import ChargeListParams, InvoicePaymentListParams


def list_invoice_payments(invoice: str) -> list[InvoicePayment]:
    """The payments of an invoice with every charge that was tried for them, oldest first.

    An invoice names its payments, a payment its intent, and an intent has a charge for every attempt. Money that was
    recorded as paid outside of Stripe is no payment there.
    """
    params: InvoicePaymentListParams = {"invoice": invoice}
    payments = [_parse_payment(row) for row in iterate(make_path("invoice_payments"), params)]
    return payments[::-1]


def _parse_payment(row: dict[str, Any]) -> InvoicePayment:
    attempts = {charge["id"]: _parse_attempt(charge) for charge in _list_charges(row["payment"])}
    return InvoicePayment(
        id=row["id"],
        status=row["status"],
        amount_paid_minor=row.get("amount_paid") or 0,
        currency=row["currency"],
        paid_at=parse_instant((row.get("status_transitions") or {}).get("paid_at")),
        attempts=tuple(sorted(attempts.values(), key=lambda attempt: (attempt.created_at, attempt.id))),
    )


def _list_charges(payment: dict[str, Any]) -> list[dict[str, Any]]:
    intent, charge = get_id(payment.get("payment_intent")), get_id(payment.get("charge"))
    if intent:
        params: ChargeListParams = {"payment_intent": intent}
        return list(iterate(make_path("charges"), params))
    return [call("get", make_path("charges", charge))] if charge else []


def _parse_attempt(charge: dict[str, Any]) -> PaymentAttempt:
    details = charge.get("payment_method_details") or {}
    method = details.get("type") or ""
    facts = details.get(method) or {}
    created_at = parse_instant(charge["created"])
    assert created_at is not None
    return PaymentAttempt(
        id=charge["id"],
        status=charge["status"],
        amount_minor=charge["amount"],
        currency=charge["currency"],
        created_at=created_at,
        failure_code=charge.get("failure_code") or "",
        decline_reason=(charge.get("outcome") or {}).get("reason") or "",
        failure_message=charge.get("failure_message") or "",
        method=method,
        brand=facts.get("brand") or "",
        last4=facts.get("last4") or "",
    )
