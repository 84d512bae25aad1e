"""Tax rates: percentages that invoices, subscriptions and their items are taxed with."""

from __future__ import annotations

from sandbox.billing.diff import previous_attributes
from sandbox.engine.context import Context
from sandbox.engine.errors import JsonObject, invalid
from sandbox.engine.routing import operation
from sandbox.engine.shapes import list_page
from sandbox.resources.fields import filter_created, filter_equal, merge_metadata

KIND = "tax_rate"
TEXTS = ("country", "description", "jurisdiction", "state", "tax_type")


@operation("POST", "/v1/tax_rates", params="TaxRateCreateParams")
def create_tax_rate(ctx: Context) -> JsonObject:
    params = ctx.params
    if not 0 <= params["percentage"] <= 100:
        raise invalid("percentage", "Invalid percentage: it must be between 0 and 100.")
    rate: JsonObject = {
        "id": ctx.store.new_id("txr"),
        "object": KIND,
        "active": params.get("active", True),
        "created": ctx.now(),
        "display_name": params["display_name"],
        "effective_percentage": params["percentage"],
        "flat_amount": None,
        "inclusive": params["inclusive"],
        "jurisdiction_level": None,
        "livemode": False,
        "metadata": merge_metadata({}, params.get("metadata", {})),
        "percentage": params["percentage"],
        "rate_type": "percentage",
        **{name: params.get(name) for name in TEXTS},
    }
    ctx.store.put(KIND, rate)
    ctx.emit("tax_rate.created", rate)
    return rate


@operation("GET", "/v1/tax_rates/{tax_rate}", params="TaxRateRetrieveParams")
def retrieve_tax_rate(ctx: Context) -> JsonObject:
    return ctx.require(KIND, ctx.path["tax_rate"], "tax_rate")


@operation("GET", "/v1/tax_rates", params="TaxRateListParams")
def list_tax_rates(ctx: Context) -> JsonObject:
    found = filter_equal(ctx.store.all(KIND), ctx.params, "active", "inclusive")
    return list_page(ctx, filter_created(found, ctx.params.get("created")), "/v1/tax_rates")


@operation("POST", "/v1/tax_rates/{tax_rate}", params="TaxRateModifyParams")
def update_tax_rate(ctx: Context) -> JsonObject:
    """Change labels or archive a rate; its percentage is fixed."""
    rate = ctx.require(KIND, ctx.path["tax_rate"], "tax_rate")
    after = {
        **rate,
        **{name: ctx.params[name] for name in (*TEXTS, "active", "display_name") if name in ctx.params},
    }
    if "metadata" in ctx.params:
        after["metadata"] = merge_metadata(rate["metadata"], ctx.params["metadata"])
    previous = previous_attributes(rate, after)
    if previous:
        ctx.store.put(KIND, after)
        ctx.emit("tax_rate.updated", after, previous)
    return after
