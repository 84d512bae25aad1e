"""Customers."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from sandbox.engine.context import Context
from sandbox.engine.errors import JsonObject, StripeError, invalid
from sandbox.engine.routing import on_load, operation
from sandbox.engine.shapes import list_page
from sandbox.engine.store import Store
from sandbox.resources.fields import changed, filter_created, filter_equal, merge_metadata, unset
from sandbox.resources.payment_methods import attach
from sandbox.resources.sources import add_source, set_default_source

_PLAIN = ("description", "email", "name", "phone", "business_name", "individual_name")
_SETTABLE = ("tax_exempt", "preferred_locales", "next_invoice_sequence", "balance")
_ADDRESS = ("city", "country", "line1", "line2", "postal_code", "state")
_PREFIX = re.compile(r"[A-Z0-9]{3,12}")


@on_load
def _declare(store: Store) -> None:
    store.index("customer", "email")
    store.index("customer", "test_clock")
    store.index("customer", "invoice_prefix")


@operation("POST", "/v1/customers", params="CustomerCreateParams", refuses=("cash_balance", "tax"))
def create_customer(ctx: Context) -> JsonObject:
    """Create a customer; emits ``customer.created``."""
    params = ctx.params
    clock_id = params.get("test_clock")
    customer: JsonObject = {
        "id": ctx.store.new_id("cus"),
        "object": "customer",
        "address": None,
        "balance": params.get("balance", 0),
        "created": ctx.now(),
        "currency": None,
        "default_source": None,
        "delinquent": False,
        "description": None,
        "discount": None,
        "email": None,
        "invoice_prefix": _new_prefix(ctx),
        "invoice_settings": dict(_INVOICE_SETTINGS),
        "livemode": False,
        "metadata": {},
        "name": None,
        "next_invoice_sequence": 1,
        "phone": None,
        "preferred_locales": [],
        "shipping": None,
        "tax_exempt": "none",
        "test_clock": None,
    }
    if clock_id:
        clock = ctx.require("test_helpers.test_clock", clock_id, "test_clock")
        customer |= {"test_clock": clock_id, "created": clock["frozen_time"]}
    ctx.store.put("customer", customer)
    try:
        if clock_id:
            _check_clock(ctx, clock_id)
        params = _attach_given_methods(ctx, customer, params)
        _apply(ctx, customer, params)
        for check in CREATE_CHECKS:
            check(ctx)
    except StripeError:
        ctx.store.delete("customer", customer["id"])
        raise
    ctx.store.put("customer", customer)
    ctx.emit("customer.created", customer)
    for hook in CREATE_HOOKS:
        hook(ctx, customer)
    return customer


@operation("GET", "/v1/customers/{customer}", params="CustomerRetrieveParams")
def retrieve_customer(ctx: Context) -> JsonObject:
    """Return a customer, or the tombstone of a deleted one."""
    id = ctx.path["customer"]
    return ctx.store.buried("customer", id) or ctx.require("customer", id)


@operation("POST", "/v1/customers/{customer}", params="CustomerModifyParams", refuses=("cash_balance", "tax"))
def update_customer(ctx: Context) -> JsonObject:
    """Update a customer; emits ``customer.updated`` where something changed."""
    customer = ctx.require("customer", ctx.path["customer"])
    after = dict(customer)
    _apply(ctx, after, _attach_given_methods(ctx, after, ctx.params))
    previous = changed(customer, after)
    ctx.store.put("customer", after)
    if previous:
        ctx.emit("customer.updated", after, previous)
    return after


@operation("DELETE", "/v1/customers/{customer}", params="CustomerDeleteParams")
def delete_customer(ctx: Context) -> JsonObject:
    """Delete a customer for good, cancelling its subscriptions; emits ``customer.deleted``."""
    return remove_customer(ctx, ctx.require("customer", ctx.path["customer"]))


@operation("GET", "/v1/customers", params="CustomerListParams")
def list_customers(ctx: Context) -> JsonObject:
    """List customers; ``email``, ``created`` and ``test_clock`` filter."""
    if "test_clock" in ctx.params:
        items = ctx.store.find("customer", "test_clock", ctx.params["test_clock"])
    elif "email" in ctx.params:
        items = ctx.store.find("customer", "email", ctx.params["email"])
    else:
        # Customers of test clocks are only listed with their clock, as in Stripe.
        items = ctx.store.find("customer", "test_clock", None)
    items = filter_created(filter_equal(items, ctx.params, "email"), ctx.params.get("created"))
    return list_page(ctx, items, "/v1/customers")


def remove_customer(ctx: Context, customer: JsonObject) -> JsonObject:
    """Cancel the customer's subscriptions, delete it and emit ``customer.deleted``. Returns the tombstone."""
    for hook in DELETE_HOOKS:
        hook(ctx, customer)
    ctx.emit("customer.deleted", customer)
    return ctx.store.bury("customer", customer["id"])


CREATE_CHECKS: list[Callable[[Context], None]] = []
"""Functions ``(ctx)`` of other resources that refuse what a new customer is to be given."""
CREATE_HOOKS: list[Callable[[Context, JsonObject], None]] = []
"""Functions ``(ctx, customer)`` that other resources run once a customer is there (tax ids)."""
DELETE_HOOKS: list[Callable[[Context, JsonObject], None]] = []
"""Functions ``(ctx, customer)`` that other resources run before a customer is deleted (cancel subscriptions)."""
CLOCK_HOOKS: list[Callable[[Context, str], None]] = []
"""Functions ``(ctx, clock_id)`` that refuse a customer (stored already) which its test clock has no room for."""


def _check_clock(ctx: Context, clock_id: str) -> None:
    for hook in CLOCK_HOOKS:
        hook(ctx, clock_id)


def _attach_given_methods(ctx: Context, customer: JsonObject, params: JsonObject) -> JsonObject:
    """Attach what ``payment_method``, ``source`` and ``default_source`` name (the customer is changed in place).

    Returns the parameters, with a test alias in ``invoice_settings`` replaced by the method it became.
    """
    if params.get("source"):
        add_source(ctx, customer, params["source"])
    if params.get("default_source"):
        set_default_source(ctx, customer, params["default_source"])
    alias = params.get("payment_method")
    if not alias:
        return params
    method = attach(ctx, alias, customer["id"])
    settings = params.get("invoice_settings") or {}
    if settings.get("default_payment_method") == alias:
        return {**params, "invoice_settings": {**settings, "default_payment_method": method["id"]}}
    return params


_INVOICE_SETTINGS: JsonObject = {
    "custom_fields": None,
    "default_payment_method": None,
    "footer": None,
    "rendering_options": None,
}


def _apply(ctx: Context, customer: JsonObject, params: JsonObject) -> None:
    for name in (*_PLAIN, *_SETTABLE):
        if name in params:
            customer[name] = unset(params[name])
    _check_email(customer["email"])
    if "metadata" in params:
        customer["metadata"] = merge_metadata(customer["metadata"], params["metadata"])
    if "address" in params:
        customer["address"] = _address(params["address"])
    if "shipping" in params:
        shipping = unset(params["shipping"])
        customer["shipping"] = (
            {"phone": None, **shipping, "address": _address(shipping.get("address"))} if shipping else None
        )
    if "invoice_prefix" in params:
        customer["invoice_prefix"] = _checked_prefix(ctx, customer, params["invoice_prefix"])
    if "invoice_settings" in params:
        _apply_invoice_settings(ctx, customer, params["invoice_settings"])


def _check_email(email: str | None) -> None:
    if email is not None and "@" not in email:
        raise invalid("email", f"Invalid email address: {email}", "email_invalid")


def _address(given: Any) -> JsonObject | None:
    if not given:
        return None
    return {name: unset(given.get(name)) for name in _ADDRESS}


def _apply_invoice_settings(ctx: Context, customer: JsonObject, given: JsonObject) -> None:
    settings = {**customer["invoice_settings"], **{name: unset(value) for name, value in given.items()}}
    method_id = settings["default_payment_method"]
    if method_id and given.get("default_payment_method"):
        method = ctx.require("payment_method", method_id, "invoice_settings[default_payment_method]")
        if method.get("customer") != customer["id"]:
            raise invalid(
                "invoice_settings[default_payment_method]",
                f"The customer does not have a payment method with the ID {method_id}. The payment method must be "
                "attached to the customer.",
                "resource_missing",
            )
    customer["invoice_settings"] = settings


def _new_prefix(ctx: Context) -> str:
    while True:
        prefix = ctx.store.new_id("x")[2:10].upper()
        if not ctx.store.find("customer", "invoice_prefix", prefix):
            return prefix


def _checked_prefix(ctx: Context, customer: JsonObject, prefix: str) -> str:
    if not _PREFIX.fullmatch(prefix):
        raise invalid("invoice_prefix", "Invoice prefixes must be 3 to 12 uppercase letters or numbers.")
    taken = ctx.store.find("customer", "invoice_prefix", prefix)
    if any(other["id"] != customer["id"] for other in taken):
        raise invalid("invoice_prefix", f"The invoice prefix {prefix} is already used by another customer.")
    return prefix
