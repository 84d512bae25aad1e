"""What was tried to collect an invoice: the charges of its payments."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from billing_worker.gateway.parsing import get_id, parse_instant
from billing_worker.gateway.transport import call, iterate, make_path
from billing_worker.gateway.types import PaymentAttempt

if TYPE_CHECKING:
    from stripe.params import ChargeListParams, InvoicePaymentListParams


def list_payment_attempts(invoice: str) -> list[PaymentAttempt]:
    """Every charge that was tried for an invoice, oldest first.

    An invoice names its payments, a payment its intent, and an intent has a charge for every attempt. A payment that
    was recorded as made outside of Stripe has none.
    """
    params: InvoicePaymentListParams = {"invoice": invoice}
    charges: dict[str, dict[str, Any]] = {}
    for row in iterate(make_path("invoice_payments"), params):
        for charge in _list_charges(row["payment"]):
            charges[charge["id"]] = charge
    attempts = [_parse_attempt(charge) for charge in charges.values()]
    return sorted(attempts, key=lambda attempt: (attempt.created_at, attempt.id))


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
