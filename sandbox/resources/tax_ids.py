"""Tax ids of customers: objects of their own, made and deleted, never changed. Some kinds are looked up later."""

from __future__ import annotations

import re
from typing import Any

from sandbox.engine.context import Context
from sandbox.engine.errors import JsonObject, invalid, missing
from sandbox.engine.expand import PREFIX_KINDS, includable
from sandbox.engine.routing import on_load, operation, periodic
from sandbox.engine.shapes import list_page
from sandbox.engine.store import Store
from sandbox.resources.customers import CREATE_CHECKS, CREATE_HOOKS, DELETE_HOOKS

KIND = "tax_id"
URL = "/v1/customers/{customer}/tax_ids"
PREFIX_KINDS["txi"] = KIND
FIRST_PAGE = 10
#: The registers that Stripe asks. https://docs.stripe.com/billing/customer/tax-ids#validation
VERIFIED_KINDS = frozenset({"au_abn", "eu_vat", "gb_vat"})
UNVERIFIED, PENDING_FOR_EVER = "111111111", "222222222"
"""Test numbers; `000000000` is verified, and so is any other. https://docs.stripe.com/billing/testing#tax-ids"""
WALL_TICK_SECONDS = 2.0

_EU_NUMBERS = {
    "AT": r"U\d{8}", "BE": r"\d{10}", "BG": r"\d{9,10}", "CY": r"\d{8}[A-Z]", "CZ": r"\d{8,10}", "DE": r"\d{9}",
    "DK": r"\d{8}", "EE": r"\d{9}", "EL": r"\d{9}", "ES": r"[A-Z0-9]\d{7}[A-Z0-9]", "FI": r"\d{8}",
    "FR": r"[A-Z0-9]{2}\d{9}", "HR": r"\d{11}", "HU": r"\d{8}(\d{3})?", "IE": r"\d{7}[A-Z]{1,2}", "IT": r"\d{11}",
    "LT": r"\d{9}(\d{3})?", "LU": r"\d{8}", "LV": r"\d{11}", "MT": r"\d{8}", "NL": r"\d{9}B\d{2}", "PL": r"\d{10}",
    "PT": r"\d{9}", "RO": r"\d{2,10}", "SE": r"\d{12}", "SI": r"\d{8}", "SK": r"\d{10}", "XI": r"\d{9}",
}  # fmt: skip
_FORMATS = {
    "eu_vat": re.compile("|".join(f"{country}({digits})" for country, digits in _EU_NUMBERS.items())),
    "gb_vat": re.compile(r"GB\d{9}(\d{3})?"),
    "ch_vat": re.compile(r"CHE-?\d{3}\.?\d{3}\.?\d{3} ?(MWST|TVA|IVA)"),
    "us_ein": re.compile(r"\d{2}-?\d{7}"),
    "au_abn": re.compile(r"\d{11}"),
    "jp_trn": re.compile(r"T\d{13}"),
}
#: Other kinds are only asked to look like a number.
_ANY_FORMAT = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ./-]{2,39}")


@on_load
def _declare(store: Store) -> None:
    store.index(KIND, "customer")
    store.index(KIND, "_is_looked_up")


@operation("POST", URL, params="CustomerCreateTaxIdParams")
def create_tax_id(ctx: Context) -> JsonObject:
    """Give a customer a tax id; emits ``customer.tax_id.created``, and ``updated`` when the register has answered."""
    customer = ctx.require("customer", ctx.path["customer"], "customer")
    _check(ctx.params["type"], ctx.params["value"], param="value")
    return _add(ctx, customer, ctx.params["type"], ctx.params["value"])


@operation("GET", URL, params="CustomerListTaxIdsParams")
def list_tax_ids(ctx: Context) -> JsonObject:
    customer = ctx.require("customer", ctx.path["customer"], "customer")
    return list_page(ctx, _of(ctx, customer), f"/v1/customers/{customer['id']}/tax_ids")


@operation("GET", f"{URL}/{{tax_id}}", params="CustomerRetrieveTaxIdParams")
def retrieve_tax_id(ctx: Context) -> JsonObject:
    return _required(ctx)


@operation("DELETE", f"{URL}/{{tax_id}}", params="CustomerDeleteTaxIdParams")
def delete_tax_id(ctx: Context) -> JsonObject:
    """Take a tax id away; finalized invoices keep it; emits ``customer.tax_id.deleted``."""
    tax_id = _required(ctx)
    ctx.emit("customer.tax_id.deleted", tax_id)
    return ctx.store.bury(KIND, tax_id["id"])


@includable("customer", "tax_ids")
def _include(ctx: Context, customer: JsonObject) -> Any:
    found = _of(ctx, customer)
    return {
        "object": "list",
        "data": found[: -FIRST_PAGE - 1 : -1],
        "has_more": len(found) > FIRST_PAGE,
        "url": f"/v1/customers/{customer['id']}/tax_ids",
    }


def _check_given(ctx: Context) -> None:
    for number, tax_id in enumerate(ctx.params.get("tax_id_data", [])):
        _check(tax_id["type"], tax_id["value"], param=f"tax_id_data[{number}][value]")


def _add_given(ctx: Context, customer: JsonObject) -> None:
    for tax_id in ctx.params.get("tax_id_data", []):
        _add(ctx, customer, tax_id["type"], tax_id["value"])


def _delete_all(ctx: Context, customer: JsonObject) -> None:
    for tax_id in _of(ctx, customer):
        ctx.store.bury(KIND, tax_id["id"])


@periodic(WALL_TICK_SECONDS)
def _look_up_left_over(ctx: Context) -> None:
    """What was to be looked up when the sandbox stopped."""
    for tax_id in ctx.store.find(KIND, "_is_looked_up", True):
        _look_up(ctx, tax_id["id"])


def _add(ctx: Context, customer: JsonObject, kind: str, value: str) -> JsonObject:
    is_looked_up = kind in VERIFIED_KINDS
    tax_id: JsonObject = {
        "id": ctx.store.new_id("txi"),
        "object": KIND,
        "country": _country(kind, value),
        "created": ctx.now_for(customer["id"]),
        "customer": customer["id"],
        "customer_account": None,
        "livemode": False,
        "owner": {"type": "customer", "customer": customer["id"]},
        "type": kind,
        "value": value,
        "verification": _verification("pending" if is_looked_up else "unavailable"),
        "_is_looked_up": is_looked_up and not value.endswith(PENDING_FOR_EVER),
    }
    ctx.store.put(KIND, tax_id)
    ctx.emit("customer.tax_id.created", tax_id)
    if tax_id["_is_looked_up"]:
        ctx.defer(lambda later: _look_up(later, tax_id["id"]))
    return tax_id


def _look_up(ctx: Context, id: str) -> None:
    before = ctx.store.get(KIND, id)
    if before is None or not before["_is_looked_up"]:
        return
    status = "unverified" if before["value"].endswith(UNVERIFIED) else "verified"
    after = {**before, "verification": _verification(status), "_is_looked_up": False}
    if status == "verified":
        customer = ctx.store.get("customer", before["customer"]) or {}
        after["verification"]["verified_name"] = customer.get("name")
    ctx.store.put(KIND, after)
    ctx.emit("customer.tax_id.updated", after, {"verification": before["verification"]})


def _verification(status: str) -> JsonObject:
    return {"status": status, "verified_address": None, "verified_name": None}


def _check(kind: str, value: str, *, param: str) -> None:
    if not _FORMATS.get(kind, _ANY_FORMAT).fullmatch(value.replace(" ", "") if kind == "eu_vat" else value):
        raise invalid(param, f"Invalid value for {kind}.", "tax_id_invalid")


def _country(kind: str, value: str) -> str | None:
    prefix = value[:2] if kind == "eu_vat" else kind[:2].upper()
    return {"EL": "GR", "XI": "GB"}.get(prefix, prefix)


def _of(ctx: Context, customer: JsonObject) -> list[JsonObject]:
    return ctx.store.find(KIND, "customer", customer["id"])


def _required(ctx: Context) -> JsonObject:
    tax_id = ctx.require(KIND, ctx.path["tax_id"], "id")
    if tax_id["customer"] != ctx.path["customer"]:
        raise missing(KIND, ctx.path["tax_id"], "id")
    return tax_id


CREATE_CHECKS.append(_check_given)
CREATE_HOOKS.append(_add_given)
DELETE_HOOKS.append(_delete_all)
