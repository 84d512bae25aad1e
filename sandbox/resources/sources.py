"""Tokens, and cards as customer sources: the older way to pay, which Stripe's CLI still uses."""

from __future__ import annotations

from typing import Any

from sandbox.engine.context import Context
from sandbox.engine.errors import JsonObject, StripeError, invalid, missing
from sandbox.engine.expand import includable
from sandbox.engine.routing import on_load, operation
from sandbox.engine.shapes import list_page
from sandbox.engine.store import Store
from sandbox.resources.cards import EXPIRY_YEAR, TestCard, card_by_number
from sandbox.resources.fields import changed, merge_metadata, unset
from sandbox.resources.payment_methods import forget_default, token_card

_BRANDS = {"visa": "Visa", "mastercard": "MasterCard", "amex": "American Express", "discover": "Discover"}
_EDITABLE = (
    *("address_city", "address_country", "address_line1", "address_line2", "address_state", "address_zip"),
    *("exp_month", "exp_year", "name"),
)


@on_load
def _declare(store: Store) -> None:
    store.index("card", "customer")


@operation(
    "POST",
    "/v1/tokens",
    params="TokenCreateParams",
    refuses=("account", "bank_account", "cvc_update", "person", "pii"),
)
def create_token(ctx: Context) -> JsonObject:
    """Create a single-use token for a test card number."""
    given = ctx.params.get("card")
    if not isinstance(given, dict):
        raise invalid("card", "The sandbox makes tokens of cards given by number only.")
    card = card_by_number(given["number"])
    token: JsonObject = {
        "id": ctx.store.new_id("tok"),
        "object": "token",
        "card": _build_card(ctx, card, None, given),
        "client_ip": "127.0.0.1",
        "created": ctx.now(),
        "livemode": False,
        "type": "card",
        "used": False,
        "_number": card.number,
    }
    ctx.store.put("token", token)
    return token


@operation("GET", "/v1/tokens/{token}", params="TokenRetrieveParams")
def retrieve_token(ctx: Context) -> JsonObject:
    """Return a token."""
    return ctx.require("token", ctx.path["token"], "token")


def add_source(ctx: Context, customer: JsonObject, token: str, metadata: Any = None) -> JsonObject:
    """Make a token a card of the customer and, where it is the first, its default; emits ``customer.source.created``.

    The caller stores the customer, whose ``default_source`` is set in place.

    Raises:
        StripeError: the token is unknown or used up, or the card refuses.
    """
    test_card = token_card(ctx, token, "source")
    if test_card.on_attach is not None:
        raise test_card.on_attach.error()
    made = ctx.store.get("token", token)
    card = _build_card(ctx, test_card, customer["id"], made["card"] if made else {})
    card["metadata"] = merge_metadata({}, metadata or {})
    ctx.store.put("card", card)
    if customer["default_source"] is None:
        customer["default_source"] = card["id"]
    ctx.emit("customer.source.created", card)
    return card


def _build_card(ctx: Context, card: TestCard, customer_id: str | None, given: JsonObject) -> JsonObject:
    return {
        "id": ctx.store.new_id("card"),
        "object": "card",
        "brand": _BRANDS.get(card.brand, card.brand.title()),
        "country": card.country,
        "customer": customer_id,
        "cvc_check": "pass" if "cvc" in given else given.get("cvc_check"),
        "exp_month": int(given.get("exp_month", 12)),
        "exp_year": int(given.get("exp_year", EXPIRY_YEAR)),
        "fingerprint": card.fingerprint,
        "funding": card.funding,
        "last4": card.last4,
        "metadata": {},
        "name": given.get("name"),
        "regulated_status": "unregulated",
        "_number": card.number,
    }


@operation("POST", "/v1/customers/{customer}/sources", params="CustomerCreateSourceParams")
def create_source(ctx: Context) -> JsonObject:
    """Attach a card by token."""
    customer = dict(ctx.require("customer", ctx.path["customer"], "customer"))
    had_default = customer["default_source"]
    card = add_source(ctx, customer, ctx.params["source"], ctx.params.get("metadata"))
    if customer["default_source"] != had_default:
        ctx.store.put("customer", customer)
        ctx.emit("customer.updated", customer, {"default_source": had_default})
    return card


@operation("GET", "/v1/customers/{customer}/sources", params="CustomerListSourcesParams")
def list_sources(ctx: Context) -> JsonObject:
    """List a customer's cards."""
    customer_id = ctx.require("customer", ctx.path["customer"], "customer")["id"]
    return list_page(
        ctx, ctx.store.find("card", "customer", customer_id), f"/v1/customers/{customer_id}/sources"
    )


@operation("GET", "/v1/customers/{customer}/sources/{id}", params="CustomerRetrieveSourceParams")
def retrieve_source(ctx: Context) -> JsonObject:
    """Return one card."""
    return _own_card(ctx)


@operation(
    "POST",
    "/v1/customers/{customer}/sources/{id}",
    params="CustomerModifySourceParams",
    refuses=("account_holder_name", "account_holder_type", "owner"),
)
def update_source(ctx: Context) -> JsonObject:
    """Update a card's holder, address, expiry or metadata; emits ``customer.source.updated``."""
    card = _own_card(ctx)
    after = dict(card)
    for name in _EDITABLE:
        if name in ctx.params:
            after[name] = unset(ctx.params[name])
    for name in ("exp_month", "exp_year"):
        after[name] = int(after[name])
    if "metadata" in ctx.params:
        after["metadata"] = merge_metadata(card["metadata"], ctx.params["metadata"])
    previous = changed(card, after)
    ctx.store.put("card", after)
    if previous:
        ctx.emit("customer.source.updated", after, previous)
    return after


@operation("DELETE", "/v1/customers/{customer}/sources/{id}", params="CustomerDeleteSourceParams")
def delete_source(ctx: Context) -> JsonObject:
    """Remove a card; emits ``customer.source.deleted``."""
    card = _own_card(ctx)
    ctx.store.delete("card", card["id"])
    forget_default(ctx, ctx.path["customer"], card["id"])
    ctx.emit("customer.source.deleted", card)
    return {"id": card["id"], "object": "card", "deleted": True}


def _own_card(ctx: Context) -> JsonObject:
    card = ctx.store.get("card", ctx.path["id"])
    if card is None or card["customer"] != ctx.path["customer"]:
        raise missing("source", ctx.path["id"], "id")
    return card


@includable("customer", "sources")
def customer_sources(ctx: Context, customer: JsonObject) -> Any:
    """Return the first cards of a customer, sent only when asked for."""
    cards = ctx.store.find("card", "customer", customer["id"])[::-1]
    url = f"/v1/customers/{customer['id']}/sources"
    return {"object": "list", "data": cards[:10], "has_more": len(cards) > 10, "url": url}


def set_default_source(ctx: Context, customer: JsonObject, id: str) -> None:
    """Make one of the customer's cards its default (in place).

    Raises:
        StripeError: the customer has no such card.
    """
    card = ctx.store.get("card", id)
    if card is None or card["customer"] != customer["id"]:
        raise StripeError(400, f"No such source: '{id}'", code="resource_missing", param="default_source")
    customer["default_source"] = id
