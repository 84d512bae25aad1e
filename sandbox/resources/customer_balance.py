"""Transactions on a customer's balance."""

from __future__ import annotations

from sandbox.billing.balance import KIND, post_to_balance
from sandbox.engine.context import Context
from sandbox.engine.errors import JsonObject, invalid, missing
from sandbox.engine.routing import operation
from sandbox.engine.shapes import list_page
from sandbox.resources.fields import filter_created, filter_equal, merge_metadata

URL = "/v1/customers/{customer}/balance_transactions"


@operation("POST", URL, params="CustomerCreateBalanceTransactionParams")
def create_balance_transaction(ctx: Context) -> JsonObject:
    """Adjust a balance by hand: negative amounts give credit."""
    params = ctx.params
    customer = ctx.require("customer", ctx.path["customer"], "customer")
    currency = params["currency"].lower()
    if customer.get("currency") and customer["currency"] != currency:
        message = (
            f"The customer's balance is kept in {customer['currency']}; the sandbox keeps one currency only."
        )
        raise invalid("currency", message)
    return post_to_balance(
        ctx,
        customer["id"],
        params["amount"],
        currency,
        type="adjustment",
        at=ctx.now_for(customer["id"]),
        description=params.get("description"),
        metadata=merge_metadata({}, params.get("metadata", {})),
    )


@operation("GET", URL, params="CustomerListBalanceTransactionsParams")
def list_balance_transactions(ctx: Context) -> JsonObject:
    customer = ctx.require("customer", ctx.path["customer"], "customer")
    found = filter_equal(ctx.store.find(KIND, "customer", customer["id"]), ctx.params, "invoice")
    found = filter_created(found, ctx.params.get("created"))
    return list_page(ctx, found, f"/v1/customers/{customer['id']}/balance_transactions")


@operation("GET", f"{URL}/{{transaction}}", params="CustomerRetrieveBalanceTransactionParams")
def retrieve_balance_transaction(ctx: Context) -> JsonObject:
    return _required(ctx)


@operation("POST", f"{URL}/{{transaction}}", params="CustomerModifyBalanceTransactionParams")
def update_balance_transaction(ctx: Context) -> JsonObject:
    transaction = dict(_required(ctx))
    if "description" in ctx.params:
        transaction["description"] = ctx.params["description"]
    if "metadata" in ctx.params:
        transaction["metadata"] = merge_metadata(transaction["metadata"], ctx.params["metadata"])
    ctx.store.put(KIND, transaction)
    return transaction


def _required(ctx: Context) -> JsonObject:
    transaction = ctx.require(KIND, ctx.path["transaction"], "transaction")
    if transaction["customer"] != ctx.path["customer"]:
        raise missing(KIND, ctx.path["transaction"], "transaction")
    return transaction
