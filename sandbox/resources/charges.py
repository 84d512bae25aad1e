"""Charges, refunds and the balance transactions they leave."""

from __future__ import annotations

from typing import Any

from sandbox.engine.context import Context
from sandbox.engine.errors import JsonObject, StripeError, invalid
from sandbox.engine.expand import includable
from sandbox.engine.routing import on_load, operation
from sandbox.engine.shapes import list_page
from sandbox.engine.store import Store
from sandbox.resources.cards import Decline, card_of
from sandbox.resources.fields import changed, filter_created, filter_equal, merge_metadata, unset


@on_load
def _declare(store: Store) -> None:
    store.index("charge", "payment_intent")
    store.index("charge", "customer")
    store.index("refund", "charge")
    store.index("refund", "payment_intent")


def make_charge(
    ctx: Context, intent: JsonObject, method: JsonObject, *, refusal: Decline | None, capture: bool
) -> JsonObject:
    """Record one attempt to take ``intent["amount"]``; emits ``charge.succeeded`` or ``charge.failed``."""
    now = ctx.now_for(intent["customer"])
    paid = refusal is None
    charge: JsonObject = {
        "id": ctx.store.new_id("ch"),
        "object": "charge",
        "amount": intent["amount"],
        "amount_captured": intent["amount"] if paid and capture else 0,
        "amount_refunded": 0,
        "billing_details": method.get("billing_details")
        or {"address": None, "email": None, "name": None, "phone": None, "tax_id": None},
        "calculated_statement_descriptor": "SANDBOX",
        "captured": paid and capture,
        "created": now,
        "currency": intent["currency"],
        "customer": intent["customer"],
        "description": intent["description"],
        "failure_code": refusal.code if refusal else None,
        "failure_message": refusal.message if refusal else None,
        "fraud_details": {},
        "livemode": False,
        "metadata": intent["metadata"],
        "outcome": _outcome(refusal),
        "paid": paid,
        "payment_intent": intent["id"],
        "payment_method": method["id"],
        "payment_method_details": _details(method),
        "receipt_email": intent["receipt_email"],
        "receipt_url": None,
        "refunded": False,
        "shipping": intent["shipping"],
        "statement_descriptor": intent["statement_descriptor"],
        "status": "succeeded" if paid else "failed",
        "transfer_group": intent["transfer_group"],
    }
    charge["balance_transaction"] = (
        _book(ctx, charge, charge["amount"], "charge") if charge["captured"] else None
    )
    ctx.store.put("charge", charge)
    ctx.emit("charge.succeeded" if paid else "charge.failed", charge)
    return charge


def capture_charge(ctx: Context, charge: JsonObject, amount: int) -> JsonObject:
    """Capture an authorised charge; emits ``charge.captured``."""
    after = {**charge, "captured": True, "amount_captured": amount}
    after["balance_transaction"] = _book(ctx, after, amount, "charge")
    ctx.store.put("charge", after)
    ctx.emit("charge.captured", after, changed(charge, after))
    return after


def _outcome(refusal: Decline | None) -> JsonObject:
    return {
        "advice_code": None,
        "network_advice_code": None,
        "network_decline_code": None,
        "network_status": "declined_by_network" if refusal else "approved_by_network",
        "reason": (refusal.decline_code or refusal.code) if refusal else None,
        "risk_level": "normal",
        "seller_message": "The bank did not return any further details with this decline."
        if refusal
        else "Payment complete.",
        "type": "issuer_declined" if refusal else "authorized",
    }


def _details(method: JsonObject) -> JsonObject:
    if method["object"] == "card" or method["type"] == "card":
        card = card_of(method)
        return {
            "type": "card",
            "card": {
                "brand": card.brand,
                "checks": {
                    "address_line1_check": None,
                    "address_postal_code_check": None,
                    "cvc_check": "pass",
                },
                "country": card.country,
                "exp_month": (method.get("card") or method)["exp_month"],
                "exp_year": (method.get("card") or method)["exp_year"],
                "fingerprint": card.fingerprint,
                "funding": card.funding,
                "installments": None,
                "last4": card.last4,
                "mandate": None,
                "network": card.brand,
                "three_d_secure": None,
                "wallet": None,
            },
        }
    kind = method["type"]
    return {"type": kind, kind: {"last4": method[kind].get("last4")}}


def _book(ctx: Context, source: JsonObject, amount: int, kind: str) -> str:
    """Record the movement on the account's balance. The sandbox takes no fee."""
    now = ctx.now_for(source.get("customer"))
    entry: JsonObject = {
        "id": ctx.store.new_id("txn"),
        "object": "balance_transaction",
        "amount": amount,
        "available_on": now,
        "balance_type": "payments",
        "created": now,
        "currency": source["currency"],
        "description": source.get("description"),
        "exchange_rate": None,
        "fee": 0,
        "fee_details": [],
        "net": amount,
        "reporting_category": kind,
        "source": source["id"],
        "status": "available",
        "type": kind,
    }
    ctx.store.put("balance_transaction", entry)
    id: str = entry["id"]
    return id


@operation("GET", "/v1/charges/{charge}", params="ChargeRetrieveParams")
def retrieve_charge(ctx: Context) -> JsonObject:
    """Return a charge."""
    return ctx.require("charge", ctx.path["charge"])


@operation("POST", "/v1/charges/{charge}", params="ChargeModifyParams")
def update_charge(ctx: Context) -> JsonObject:
    """Update a charge's description, receipt address or metadata; emits ``charge.updated``."""
    charge = ctx.require("charge", ctx.path["charge"])
    after = dict(charge)
    for name in ("description", "receipt_email", "shipping", "transfer_group"):
        if name in ctx.params:
            after[name] = unset(ctx.params[name])
    if "metadata" in ctx.params:
        after["metadata"] = merge_metadata(charge["metadata"], ctx.params["metadata"])
    previous = changed(charge, after)
    ctx.store.put("charge", after)
    if previous:
        ctx.emit("charge.updated", after, previous)
    return after


@operation("GET", "/v1/charges", params="ChargeListParams")
def list_charges(ctx: Context) -> JsonObject:
    """List charges; ``customer``, ``payment_intent`` and ``created`` filter."""
    params = ctx.params
    if "payment_intent" in params:
        items = ctx.store.find("charge", "payment_intent", params["payment_intent"])
    elif "customer" in params:
        items = ctx.store.find("charge", "customer", params["customer"])
    else:
        items = ctx.store.all("charge")
    items = filter_equal(items, params, "customer", "payment_intent")
    return list_page(ctx, filter_created(items, params.get("created")), "/v1/charges")


@includable("charge", "refunds")
def charge_refunds(ctx: Context, charge: JsonObject) -> Any:
    """Return a charge's refunds, sent only when asked for."""
    refunds = ctx.store.find("refund", "charge", charge["id"])[::-1]
    url = f"/v1/charges/{charge['id']}/refunds"
    return {"object": "list", "data": refunds[:10], "has_more": len(refunds) > 10, "url": url}


@operation(
    "POST",
    "/v1/refunds",
    params="RefundCreateParams",
    refuses=("instructions_email", "origin", "refund_application_fee", "reverse_transfer"),
)
def create_refund(ctx: Context) -> JsonObject:
    """Refund a charge, or the charge of a payment intent, in part or (without ``amount``) what is left of it."""
    params = ctx.params
    if "charge" in params:
        charge = ctx.require("charge", params["charge"], "charge")
    elif "payment_intent" in params:
        intent = ctx.require("payment_intent", params["payment_intent"], "payment_intent")
        if intent["latest_charge"] is None:
            raise invalid(
                "payment_intent",
                f"This PaymentIntent ({intent['id']}) does not have a successful charge to refund.",
            )
        charge = ctx.require("charge", intent["latest_charge"], "charge")
    else:
        raise StripeError(
            400, "One of the following params should be provided for this request: payment_intent, charge."
        )
    return refund_charge(ctx, charge, params.get("amount"), params.get("reason"), params.get("metadata"))


def refund_charge(
    ctx: Context, charge: JsonObject, amount: int | None, reason: str | None = None, metadata: Any = None
) -> JsonObject:
    """Refund ``amount`` minor units of a charge (None: the rest). Emits ``refund.created`` and ``charge.refunded``.

    Raises:
        StripeError: 400, the charge was not captured, is refunded already, or holds less than the amount.
    """
    left = charge["amount_captured"] - charge["amount_refunded"]
    if not charge["captured"]:
        raise invalid("charge", f"Charge {charge['id']} has not been captured.")
    if left == 0:
        raise StripeError(
            400, f"Charge {charge['id']} has already been refunded.", code="charge_already_refunded"
        )
    wanted = left if amount is None else amount
    if wanted <= 0:
        raise invalid("amount", "Invalid positive integer", "parameter_invalid_integer")
    if wanted > left:
        raise invalid(
            "amount", f"Refund amount ({wanted}) is greater than unrefunded amount on charge ({left})"
        )
    refund: JsonObject = {
        "id": ctx.store.new_id("re"),
        "object": "refund",
        "amount": wanted,
        "charge": charge["id"],
        "created": ctx.now_for(charge["customer"]),
        "currency": charge["currency"],
        "destination_details": {"card": {"type": "refund"}, "type": "card"},
        "metadata": merge_metadata({}, metadata or {}),
        "payment_intent": charge["payment_intent"],
        "payment_method": charge["payment_method"],
        "reason": reason,
        "status": "succeeded",
    }
    refund["balance_transaction"] = _book(ctx, {**refund, "customer": charge["customer"]}, -wanted, "refund")
    ctx.store.put("refund", refund)
    after = {**charge, "amount_refunded": charge["amount_refunded"] + wanted}
    after["refunded"] = after["amount_refunded"] == after["amount_captured"]
    ctx.store.put("charge", after)
    ctx.emit("refund.created", refund, at=refund["created"])
    ctx.emit("charge.refunded", after, changed(charge, after))
    return refund


@operation("GET", "/v1/refunds/{refund}", params="RefundRetrieveParams")
def retrieve_refund(ctx: Context) -> JsonObject:
    """Return a refund."""
    return ctx.require("refund", ctx.path["refund"])


@operation("POST", "/v1/refunds/{refund}", params="RefundModifyParams")
def update_refund(ctx: Context) -> JsonObject:
    """Update a refund's metadata; emits ``refund.updated``."""
    refund = ctx.require("refund", ctx.path["refund"])
    after = dict(refund)
    if "metadata" in ctx.params:
        after["metadata"] = merge_metadata(refund["metadata"], ctx.params["metadata"])
    previous = changed(refund, after)
    ctx.store.put("refund", after)
    if previous:
        ctx.emit("refund.updated", after, previous)
    return after


@operation("GET", "/v1/refunds", params="RefundListParams")
def list_refunds(ctx: Context) -> JsonObject:
    """List refunds; ``charge``, ``payment_intent`` and ``created`` filter."""
    items = filter_equal(ctx.store.all("refund"), ctx.params, "charge", "payment_intent")
    return list_page(ctx, filter_created(items, ctx.params.get("created")), "/v1/refunds")


@operation("GET", "/v1/balance_transactions/{id}", params="BalanceTransactionRetrieveParams")
def retrieve_balance_transaction(ctx: Context) -> JsonObject:
    """Return a balance transaction."""
    return ctx.require("balance_transaction", ctx.path["id"])


@operation("GET", "/v1/balance_transactions", params="BalanceTransactionListParams", refuses=("payout",))
def list_balance_transactions(ctx: Context) -> JsonObject:
    """List balance transactions; ``currency``, ``source``, ``type`` and ``created`` filter."""
    items = filter_equal(ctx.store.all("balance_transaction"), ctx.params, "currency", "source", "type")
    return list_page(ctx, filter_created(items, ctx.params.get("created")), "/v1/balance_transactions")
