"""Payment methods: test aliases, cards by number, bank debits; attached to customers and detached."""

from __future__ import annotations

import hashlib
from typing import Any

from sandbox.engine.context import Context
from sandbox.engine.errors import JsonObject, StripeError, invalid, missing
from sandbox.engine.routing import on_load, operation
from sandbox.engine.shapes import list_page
from sandbox.engine.store import Store
from sandbox.resources.cards import (
    EXPIRY_YEAR,
    TestCard,
    card_by_alias,
    card_by_number,
    card_by_token,
    card_of,
)
from sandbox.resources.fields import changed, filter_equal, merge_metadata, unset

KIND = "payment_method"
_BANK_TYPES = ("sepa_debit", "us_bank_account", "bacs_debit", "au_becs_debit", "acss_debit", "link")
_BILLING: JsonObject = {"address": None, "email": None, "name": None, "phone": None, "tax_id": None}
_NO_ADDRESS = dict.fromkeys(("city", "country", "line1", "line2", "postal_code", "state"))


@on_load
def _declare(store: Store) -> None:
    store.index(KIND, "customer")


@operation("POST", "/v1/payment_methods", params="PaymentMethodCreateParams")
def create_payment_method(ctx: Context) -> JsonObject:
    """Create a payment method that belongs to nobody yet."""
    method = build_payment_method(ctx, ctx.params)
    ctx.store.put(KIND, method)
    return method


def build_payment_method(ctx: Context, params: JsonObject) -> JsonObject:
    """Return a new payment method from create parameters or ``payment_method_data``. Stores nothing.

    Raises:
        StripeError: the type has no details, or its details are no test instrument.
    """
    if "payment_method" in params:
        return _clone(ctx, resolve_method(ctx, params["payment_method"], "payment_method"))
    kind = params.get("type")
    if kind == "card":
        method = card_method(ctx, _card_given(ctx, params.get("card")), params)
        given = params["card"]
        if "exp_month" in given:
            method["card"] |= {"exp_month": given["exp_month"], "exp_year": given["exp_year"]}
    elif kind in _BANK_TYPES:
        method = _bank_method(ctx, kind, params)
    else:
        known = ", ".join(("card", *_BANK_TYPES))
        raise invalid("type", f"The sandbox has no payment methods of type {kind}; it has {known}.")
    return method


def card_method(ctx: Context, card: TestCard, params: JsonObject) -> JsonObject:
    """Return a new, unstored card payment method."""
    return {
        **_new(ctx, params),
        "type": "card",
        "card": {
            "brand": card.brand,
            "checks": {"address_line1_check": None, "address_postal_code_check": None, "cvc_check": "pass"},
            "country": card.country,
            "display_brand": card.brand,
            "exp_month": 12,
            "exp_year": EXPIRY_YEAR,
            "fingerprint": card.fingerprint,
            "funding": card.funding,
            "generated_from": None,
            "last4": card.last4,
            "networks": {"available": [card.brand], "preferred": None},
            "regulated_status": "unregulated",
            "three_d_secure_usage": {"supported": True},
            "wallet": None,
        },
        "_number": card.number,
    }


def _new(ctx: Context, params: JsonObject) -> JsonObject:
    return {
        "id": ctx.store.new_id("pm"),
        "object": KIND,
        "allow_redisplay": params.get("allow_redisplay", "unspecified"),
        "billing_details": _billing(
            _BILLING | {"address": dict(_NO_ADDRESS)}, params.get("billing_details", {})
        ),
        "created": ctx.now(),
        "customer": None,
        "livemode": False,
        "metadata": merge_metadata({}, params.get("metadata", {})),
    }


def _billing(current: JsonObject, given: JsonObject) -> JsonObject:
    after = {**current, **{name: unset(value) for name, value in given.items()}}
    after["address"] = {**_NO_ADDRESS, **(after.get("address") or {})}
    return after


def _card_given(ctx: Context, given: Any) -> TestCard:
    if not given:
        raise invalid("card", "Missing required param: card.", "parameter_missing")
    if "token" not in given:
        for name in ("number", "exp_month", "exp_year"):
            if name not in given:
                raise invalid(f"card[{name}]", f"Missing required param: card[{name}].", "parameter_missing")
        return card_by_number(given["number"])
    return token_card(ctx, given["token"], "card[token]")


def token_card(ctx: Context, token: str, param: str) -> TestCard:
    """Return the card of a test token or of a token made with ``POST /v1/tokens`` (which it uses up).

    Raises:
        StripeError: no such token, or it was used before.
    """
    card = card_by_token(token)
    if card is not None:
        return card
    stored = ctx.store.get("token", token)
    if stored is None:
        raise missing("token", token, param)
    if stored["used"]:
        raise StripeError(
            400, f"You cannot use a Stripe token more than once: {token}.", code="token_already_used"
        )
    ctx.store.put("token", {**stored, "used": True})
    return card_of(stored)


def _bank_method(ctx: Context, kind: str, params: JsonObject) -> JsonObject:
    given = params.get(kind, {})
    account = next((str(given[name]) for name in ("iban", "account_number") if name in given), "0000000000")
    fingerprint = hashlib.blake2b(account.encode(), digest_size=8).hexdigest()
    details: JsonObject = {"last4": account[-4:], "fingerprint": fingerprint}
    if kind == "sepa_debit":
        details |= {
            "bank_code": account[4:12],
            "branch_code": "",
            "country": account[:2],
            "generated_from": None,
        }
    elif kind == "us_bank_account":
        details |= {
            "account_holder_type": given.get("account_holder_type", "individual"),
            "account_type": given.get("account_type", "checking"),
            "bank_name": "STRIPE TEST BANK",
            "routing_number": given.get("routing_number"),
        }
    elif kind == "link":
        details = {"email": params.get("billing_details", {}).get("email")}
    return {**_new(ctx, params), "type": kind, kind: details, "_number": "4242424242424242"}


def _clone(ctx: Context, method: JsonObject) -> JsonObject:
    return {**method, "id": ctx.store.new_id("pm"), "customer": None, "created": ctx.now()}


def resolve_method(ctx: Context, id: str, param: str) -> JsonObject:
    """Return the payment method (or card source) of an id; a test alias makes a new, stored payment method.

    Raises:
        StripeError: 404, there is none.
    """
    card = card_by_alias(id)
    if card is not None:
        method = card_method(ctx, card, {})
        ctx.store.put(KIND, method)
        return method
    found = ctx.store.get(KIND, id) or ctx.store.get("card", id)
    if found is None:
        raise missing(KIND, id, param)
    return found


def attach(ctx: Context, id: str, customer_id: str, param: str = "payment_method") -> JsonObject:
    """Attach a payment method or test alias to a customer; emits ``payment_method.attached``. Returns it.

    Raises:
        StripeError: 404 for either; 402 where the card refuses; 400 where it belongs to another customer.
    """
    ctx.require("customer", customer_id, "customer")
    method = resolve_method(ctx, id, param)
    if method["customer"] == customer_id:
        return method
    if method["customer"] is not None:
        raise StripeError(
            400,
            "The payment method you provided has already been attached to a customer.",
            code="payment_method_already_attached" if method["object"] == KIND else None,
        )
    if method.get("_detached"):
        raise StripeError(
            400,
            "This PaymentMethod was previously used without being attached to a Customer or was detached from a "
            "Customer, and may not be used again.",
        )
    refusal = card_of(method).on_attach
    if refusal is not None:
        raise refusal.error()
    method = {**method, "customer": customer_id}
    ctx.store.put(KIND, method)
    ctx.emit("payment_method.attached", method)
    return method


@operation("GET", "/v1/payment_methods/{payment_method}", params="PaymentMethodRetrieveParams")
def retrieve_payment_method(ctx: Context) -> JsonObject:
    """Return a payment method."""
    return resolve_method(ctx, ctx.path["payment_method"], "payment_method")


@operation("POST", "/v1/payment_methods/{payment_method}", params="PaymentMethodModifyParams")
def update_payment_method(ctx: Context) -> JsonObject:
    """Update an attached payment method; emits ``payment_method.updated``."""
    method = ctx.require(KIND, ctx.path["payment_method"], "payment_method")
    if method["customer"] is None:
        raise StripeError(
            400,
            "You must save this PaymentMethod to a customer before you can update it.",
            param="payment_method",
        )
    params = ctx.params
    after = dict(method)
    if "metadata" in params:
        after["metadata"] = merge_metadata(method["metadata"], params["metadata"])
    if "billing_details" in params:
        after["billing_details"] = _billing(method["billing_details"], params["billing_details"])
    if "allow_redisplay" in params:
        after["allow_redisplay"] = params["allow_redisplay"]
    if "card" in params and "card" in method:
        allowed = {name: params["card"][name] for name in ("exp_month", "exp_year") if name in params["card"]}
        after["card"] = {**method["card"], **allowed}
    previous = changed(method, after)
    ctx.store.put(KIND, after)
    if previous:
        ctx.emit("payment_method.updated", after, previous)
    return after


@operation("POST", "/v1/payment_methods/{payment_method}/attach", params="PaymentMethodAttachParams")
def attach_payment_method(ctx: Context) -> JsonObject:
    """Attach to ``customer``."""
    if "customer" not in ctx.params:
        raise invalid("customer", "Missing required param: customer.", "parameter_missing")
    return attach(ctx, ctx.path["payment_method"], ctx.params["customer"])


@operation("POST", "/v1/payment_methods/{payment_method}/detach", params="PaymentMethodDetachParams")
def detach_payment_method(ctx: Context) -> JsonObject:
    """Detach from its customer, for good; emits ``payment_method.detached``."""
    method = ctx.require(KIND, ctx.path["payment_method"], "payment_method")
    if method["customer"] is None:
        raise StripeError(
            400,
            "The payment method you provided is not attached to a customer so detachment is impossible.",
            param="payment_method",
        )
    after = {**method, "customer": None, "_detached": True}
    ctx.store.put(KIND, after)
    forget_default(ctx, method["customer"], method["id"])
    ctx.emit("payment_method.detached", after, {"customer": method["customer"]})
    return after


def forget_default(ctx: Context, customer_id: str, id: str) -> None:
    """Clear the customer's defaults that point at a method which is gone."""
    customer = ctx.store.get("customer", customer_id)
    if customer is None:
        return
    after = dict(customer)
    if customer["invoice_settings"]["default_payment_method"] == id:
        after["invoice_settings"] = {**customer["invoice_settings"], "default_payment_method": None}
    if customer["default_source"] == id:
        left = [card for card in ctx.store.find("card", "customer", customer_id) if card["id"] != id]
        after["default_source"] = left[0]["id"] if left else None
    previous = changed(customer, after)
    if previous:
        ctx.store.put("customer", after)
        ctx.emit("customer.updated", after, previous)


@operation("GET", "/v1/payment_methods", params="PaymentMethodListParams")
def list_payment_methods(ctx: Context) -> JsonObject:
    """List the payment methods of a ``customer``."""
    customer_id = ctx.params.get("customer")
    if customer_id is not None:
        ctx.require("customer", customer_id, "customer")
    items = ctx.store.find(KIND, "customer", customer_id)
    return list_page(ctx, filter_equal(items, ctx.params, "type", "allow_redisplay"), "/v1/payment_methods")


@operation("GET", "/v1/customers/{customer}/payment_methods", params="CustomerListPaymentMethodsParams")
def list_customer_methods(ctx: Context) -> JsonObject:
    """List a customer's payment methods."""
    customer_id = ctx.require("customer", ctx.path["customer"], "customer")["id"]
    items = filter_equal(ctx.store.find(KIND, "customer", customer_id), ctx.params, "type", "allow_redisplay")
    return list_page(ctx, items, f"/v1/customers/{customer_id}/payment_methods")


@operation(
    "GET",
    "/v1/customers/{customer}/payment_methods/{payment_method}",
    params="CustomerRetrievePaymentMethodParams",
)
def retrieve_customer_method(ctx: Context) -> JsonObject:
    """Return one of a customer's payment methods."""
    method = ctx.require(KIND, ctx.path["payment_method"], "payment_method")
    if method["customer"] != ctx.path["customer"]:
        raise missing(KIND, method["id"], "payment_method")
    return method
