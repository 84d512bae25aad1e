"""Shape of the answers, taken from the SDK's classes.

A field that the SDK does not declare ``Optional`` is always in Stripe's answer. One that it does declare so is either
null or left out; Stripe sends most of them as null, and the exceptions are named in ``_LEFT_OUT``.
"""

from __future__ import annotations

import functools
import importlib
import re
import sys
import types
import typing
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Union, get_args, get_origin

import typing_extensions
from stripe._list_object import ListObject
from stripe._object_classes import OBJECT_CLASSES
from stripe._stripe_object import StripeObject, UntypedStripeObject

from sandbox.engine.errors import JsonObject, StripeError

if TYPE_CHECKING:
    from sandbox.engine.context import Context

_LEFT_OUT: dict[str, frozenset[str]] = {
    "customer": frozenset(
        {"business_name", "cash_balance", "customer_account", "individual_name", "invoice_credit_balance"}
        | {"sources", "subscriptions", "tax", "tax_ids"}
    ),
    "price": frozenset({"currency_options", "tiers"}),
    "plan": frozenset({"tiers"}),
    "payment_intent": frozenset(
        {"allowed_payment_method_types", "hooks", "payment_details", "presentment_details"}
    ),
    "setup_intent": frozenset({"allowed_payment_method_types", "attach_to_self", "managed_payments"}),
    "charge": frozenset({"authorization_code", "level3", "presentment_details", "radar_options", "transfer"}),
    "refund": frozenset(
        {"description", "failure_balance_transaction", "failure_reason", "instructions_email", "next_action"}
        | {"pending_reason", "presentment_details"}
    ),
    "event": frozenset({"account", "context"}),
    "webhook_endpoint": frozenset({"secret"}),
    "subscription": frozenset({"presentment_details"}),
    "subscription_item": frozenset({"billed_until"}),
    "invoice": frozenset({"amount_paid_off_stripe", "confirmation_secret", "payments", "threshold_reason"}),
    "invoiceitem": frozenset({"frozen_fields"}),
    "coupon": frozenset({"applies_to", "currency_options"}),
    "checkout.session": frozenset(
        {
            "branding_settings",
            "excluded_payment_method_types",
            "line_items",
            "name_collection",
            "optional_items",
        }
        | {"presentment_details", "redirect_on_completion", "return_url"}
    ),
}
"""Fields that Stripe leaves out unless they apply or are expanded, by kind. ``deleted`` always is."""

_KEEPS_ONLY_PRESENT = frozenset({"payment_method", "source"})
"""Kinds made of one hash per payment method type: only the hash of their own type is in the answer."""

_UNIONS = (Union, types.UnionType)
_LITERALS = (Literal, typing_extensions.Literal)
_IMPORT = re.compile(r"^ *from (stripe[\w.]*) import (?:\(([^)]*)\)|([^\n(]+))", re.MULTILINE)

Filler = Callable[[Any], Any]


class _Shape:
    """The compiled form of one SDK class: neutral values for what may be missing, fillers for what nests."""

    __slots__ = ("defaults", "fillers", "has_id")

    def __init__(self) -> None:
        self.has_id = True
        self.defaults: dict[str, Any] = {}
        self.fillers: dict[str, Filler] = {}

    def fill(self, obj: JsonObject) -> JsonObject:
        filled = {**self.defaults, **obj}
        for name, filler in self.fillers.items():
            value = filled.get(name)
            if value is not None:
                filled[name] = filler(value)
        return filled


def complete(kind: str, obj: JsonObject) -> JsonObject:
    """Return a copy of ``obj`` with every field that Stripe always sends.

    Keys that begin with an underscore are the sandbox's own and are dropped, as is the id of a kind without one
    (meter events). Tombstones (``deleted``) stay as they
    are. Kinds that the SDK does not know are returned without change.
    """
    if obj.get("deleted"):
        return obj
    shape = _shape_of_kind(kind)
    filled = shape.fill(obj) if shape else dict(obj)
    for name in [name for name in filled if name[0] == "_"]:
        del filled[name]
    if shape is not None and not shape.has_id:
        filled.pop("id", None)
    return filled


def render(answer: Any) -> Any:
    """Complete an object, or each element of a list answer."""
    if not isinstance(answer, dict):
        return answer
    kind = answer.get("object")
    if kind in ("list", "search_result"):
        return {**answer, "data": [render(element) for element in answer["data"]]}
    return complete(kind, answer) if isinstance(kind, str) else answer


def list_page(ctx: Context, items: list[JsonObject], url: str) -> JsonObject:
    """Return one page of ``items`` (oldest first, as the store gives them), newest first, as Stripe's list object.

    Reads ``limit`` (1-100, default 10), ``starting_after`` and ``ending_before`` from the parameters.

    Raises:
        StripeError: the limit is out of bounds or a cursor names nothing in the list.
    """
    limit = ctx.params.get("limit", 10)
    if not 1 <= limit <= 100:
        message = f"This value must be {'greater than or equal to 1' if limit < 1 else 'less than or equal to 100'}."
        raise StripeError(400, message, code="parameter_invalid_integer", param="limit")
    after, before = ctx.params.get("starting_after"), ctx.params.get("ending_before")
    if after and before:
        raise StripeError(
            400, "You cannot pass both `ending_before` and `starting_after`.", code="parameters_exclusive"
        )
    if before:
        older_bound = _position(items, before, "ending_before") + 1
        chosen = items[older_bound : older_bound + limit]
        has_more = older_bound + limit < len(items)
    else:
        end = _position(items, after, "starting_after") if after else len(items)
        start = max(0, end - limit)
        chosen, has_more = items[start:end], start > 0
    return {"object": "list", "data": chosen[::-1], "has_more": has_more, "url": url}


def _position(items: list[JsonObject], id: str, param: str) -> int:
    for position, item in enumerate(items):
        if item["id"] == id:
            return position
    kind = items[0]["object"].rsplit(".", 1)[-1] if items else "object"
    raise StripeError(400, f"No such {kind}: '{id}'", code="resource_missing", param=param)


def sdk_class(kind: str) -> type[StripeObject] | None:
    """Return the SDK's class for a kind, or None."""
    found = OBJECT_CLASSES.get(kind)
    if found is None:
        return None
    cls: type[StripeObject] = getattr(importlib.import_module(found[0]), found[1])
    return cls


def fields_of(cls: type) -> dict[str, Any]:
    """Return the declared fields of an SDK class or of one of its nested classes, class variables left out."""
    hints: dict[str, Any] = {}
    for base in reversed(cls.__mro__):
        if base in (StripeObject, object, dict) or not issubclass(base, StripeObject):
            continue
        hints.update(vars(base).get("__annotations__", {}))
    return {n: h for n, h in hints.items() if get_origin(h) is not ClassVar and not n.startswith("_")}


def is_optional(hint: Any) -> bool:
    """Whether the SDK lets the field be null or absent."""
    return get_origin(hint) in _UNIONS and type(None) in get_args(hint)


def reference_classes(hint: Any, module: str) -> list[type]:
    """Return the SDK classes that a field's declaration names, lists and unions unfolded."""
    if isinstance(hint, typing.ForwardRef):
        hint = _resolve_name(hint.__forward_arg__, module)
    if isinstance(hint, str):
        hint = _resolve_name(hint, module)
    if isinstance(hint, type):
        return [hint] if issubclass(hint, StripeObject) and hint is not UntypedStripeObject else []
    if get_origin(hint) in (*_UNIONS, list, ListObject):
        return [cls for part in get_args(hint) for cls in reference_classes(part, module)]
    return []


@functools.cache
def _shape_of_kind(kind: str) -> _Shape | None:
    cls: Any = sdk_class(kind)
    return _compile(cls) if cls else None


@functools.cache
def _compile(cls: Any) -> _Shape:
    shape = _Shape()
    kind: str | None = getattr(cls, "OBJECT_NAME", None)
    left_out = _LEFT_OUT.get(kind, frozenset()) if kind else frozenset()
    hints = fields_of(cls)
    shape.has_id = "id" in hints
    for name in ("id", "object", *(n for n in hints if n not in ("id", "object"))):
        hint = hints.get(name)
        if hint is None:
            continue
        classes = reference_classes(hint, cls.__module__)
        if classes:
            shape.fillers[name] = _filler(classes)
        if not is_optional(hint):
            shape.defaults[name] = _neutral(hint, classes)
        elif name == "metadata":
            shape.defaults[name] = {}
        elif name != "deleted" and name not in left_out and not _is_type_hash(kind, name, classes):
            shape.defaults[name] = None
    return shape


def _is_type_hash(kind: str | None, name: str, classes: list[type]) -> bool:
    """Whether a nullable field is a hash per payment method type, of which only the applicable ones are sent.

    They are in payment methods themselves and in nested hashes such as ``payment_method_options``.
    """
    own_hash = any("OBJECT_NAME" not in vars(cls) for cls in classes)
    return own_hash and (kind is None or kind in _KEEPS_ONLY_PRESENT) and name in _payment_method_types()


@functools.cache
def _payment_method_types() -> frozenset[str]:
    names: set[str] = set()
    for kind in _KEEPS_ONLY_PRESENT:
        cls = sdk_class(kind)
        if cls is not None:
            names |= {
                name for name, hint in fields_of(cls).items() if reference_classes(hint, cls.__module__)
            }
    return frozenset(names - {"billing_details", "customer", "owner"})


def _filler(classes: list[type]) -> Filler:
    if len(classes) == 1 and not hasattr(classes[0], "OBJECT_NAME"):
        nested = classes[0]

        def fill_nested(value: Any) -> Any:
            if isinstance(value, dict):
                return _compile(nested).fill(value)
            if isinstance(value, list):
                return [fill_nested(element) for element in value]
            return value

        return fill_nested
    return _fill_reference


def _fill_reference(value: Any) -> Any:
    if isinstance(value, dict):
        return render(value)
    if isinstance(value, list):
        return [_fill_reference(element) for element in value]
    return value


_NEUTRAL: Mapping[Any, Any] = {str: "", int: 0, bool: False, float: 0}


def _neutral(hint: Any, classes: list[type]) -> Any:
    origin = get_origin(hint)
    if origin in _LITERALS:
        return get_args(hint)[0]
    if origin in _UNIONS:
        return _neutral(get_args(hint)[0], classes)
    if origin is list:
        return []
    if origin is ListObject:
        return {"object": "list", "data": [], "has_more": False, "url": ""}
    if origin in (dict, UntypedStripeObject) or hint is UntypedStripeObject:
        return {}
    if classes and isinstance(hint, type | typing.ForwardRef | str):
        kind = getattr(classes[0], "OBJECT_NAME", None)
        return {"object": kind} if kind else {}  # the filler completes it
    return _NEUTRAL.get(hint, "")


def _resolve_name(name: str, module: str) -> Any:
    """Resolve a name that the SDK imports for type checkers only."""
    bare = name.removeprefix('"').removesuffix('"')
    here = sys.modules[module]
    if hasattr(here, bare):
        return getattr(here, bare)
    source = _checked_imports(module).get(bare)
    if source is None:
        raise LookupError(f"{module} refers to {name!r}, which it does not import")
    return getattr(importlib.import_module(source[0]), source[1])


@functools.cache
def _checked_imports(module: str) -> dict[str, tuple[str, str]]:
    with open(typing.cast(str, sys.modules[module].__file__), encoding="utf-8") as file:
        head = file.read().split("\nclass ", 1)[0]
    names: dict[str, tuple[str, str]] = {}
    for source, many, one in _IMPORT.findall(head):
        for item in (many or one).split(","):
            original, _, alias = item.strip().partition(" as ")
            if original:
                names[alias.strip() or original.strip()] = (source, original.strip())
    return names
