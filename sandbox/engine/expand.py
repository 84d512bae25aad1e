"""``expand``: ids replaced by the objects they name, and fields that are only sent when asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from sandbox.engine.errors import JsonObject, StripeError
from sandbox.engine.shapes import render

if TYPE_CHECKING:
    from sandbox.engine.context import Context

MAX_DEPTH = 4

PREFIX_KINDS: dict[str, str] = {
    "cus": "customer",
    "prod": "product",
    "price": "price",
    "plan": "plan",
    "sub": "subscription",
    "si": "subscription_item",
    "in": "invoice",
    "ii": "invoiceitem",
    "il": "line_item",
    "inpay": "invoice_payment",
    "pm": "payment_method",
    "card": "card",
    "src": "source",
    "pi": "payment_intent",
    "seti": "setup_intent",
    "ch": "charge",
    "re": "refund",
    "txn": "balance_transaction",
    "cn": "credit_note",
    "cbtxn": "customer_balance_transaction",
    "cs": "checkout.session",
    "clock": "test_helpers.test_clock",
    "mtr": "billing.meter",
    "txr": "tax_rate",
    "di": "discount",
    "bpc": "billing_portal.configuration",
    "evt": "event",
    "we": "webhook_endpoint",
}
"""Kind by id prefix; handler modules may add their own."""

FIELD_KINDS: dict[str, str] = {
    "product": "product",
    "coupon": "coupon",
    "price": "price",
    "customer": "customer",
}
"""Kind by field name, for objects whose ids the caller may choose."""

_INCLUDABLE: dict[tuple[str, str], Callable[[Context, JsonObject], Any]] = {}


def includable(
    kind: str, field: str
) -> Callable[[Callable[[Context, JsonObject], Any]], Callable[[Context, JsonObject], Any]]:
    """Register what ``expand=[field]`` adds to a kind, e.g. ``@includable("price", "tiers")``.

    The function is given the Context and the *stored* object and returns the field's value.
    """

    def register(compute: Callable[[Context, JsonObject], Any]) -> Callable[[Context, JsonObject], Any]:
        _INCLUDABLE[(kind, field)] = compute
        return compute

    return register


def expand_answer(ctx: Context, answer: JsonObject, paths: list[str]) -> JsonObject:
    """Expand every path in a rendered answer, in place.

    Raises:
        StripeError: 400, a path cannot be expanded or is deeper than four levels.
    """
    for path in paths:
        parts = path.split(".")
        if len(parts) > MAX_DEPTH + (parts[0] == "data"):
            raise StripeError(
                400,
                f"You cannot expand more than {MAX_DEPTH} levels of a property. Property: {path}",
                param="expand",
            )
        _expand(ctx, answer, parts, path)
    return answer


def _expand(ctx: Context, node: Any, parts: list[str], path: str) -> None:
    if isinstance(node, list):
        for element in node:
            _expand(ctx, element, parts, path)
        return
    if not isinstance(node, dict) or not parts:
        return
    field, rest = parts[0], parts[1:]
    value = node.get(field)
    kind = node.get("object")
    if isinstance(value, str):
        value = _resolve(ctx, field, value, path)
        node[field] = value
    elif isinstance(value, list) and value and isinstance(value[0], str):
        value = [_resolve(ctx, field, element, path) for element in value]
        node[field] = value
    elif value is None and isinstance(kind, str) and (kind, field) in _INCLUDABLE:
        stored = ctx.store.get(kind, node.get("id", "")) or node
        value = render(_INCLUDABLE[(kind, field)](ctx, stored))
        node[field] = value
    elif field not in node:
        raise StripeError(400, f"This property cannot be expanded ({path}).", param="expand")
    _expand(ctx, value, rest, path)


def _resolve(ctx: Context, field: str, id: str, path: str) -> Any:
    kind = FIELD_KINDS.get(field) or PREFIX_KINDS.get(id.split("_", 1)[0])
    if kind is None:
        raise StripeError(400, f"This property cannot be expanded ({path}).", param="expand")
    found = ctx.store.get(kind, id)
    if found is None:
        found = ctx.store.buried(kind, id)
    return render(found) if found is not None else id
