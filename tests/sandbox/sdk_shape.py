"""Holds an answer of the sandbox against the SDK's class for it, recursively."""

from __future__ import annotations

import types
from typing import Any, Literal, Union, get_args, get_origin

import typing_extensions
from stripe._list_object import ListObject
from stripe._stripe_object import StripeObject, UntypedStripeObject

from sandbox.engine.shapes import fields_of, is_optional, reference_classes, sdk_class

_UNIONS = (Union, types.UnionType)
_LITERALS = (Literal, typing_extensions.Literal)
_SCALARS: dict[Any, tuple[type, ...]] = {str: (str,), int: (int,), bool: (bool,), float: (float, int)}


def shape_problems(obj: dict[str, Any]) -> list[str]:
    """Return what is wrong with an object, e.g. ``invoice.lines.data[0].period: missing``; empty where it fits.

    Fields that the class does not declare are problems too: they would be the sandbox's own inventions.
    """
    kind = obj.get("object")
    cls = sdk_class(str(kind))
    if cls is None:
        return [f"{kind}: the SDK has no such object"]
    return _of_class(obj, cls, str(kind))


def _of_class(obj: dict[str, Any], cls: type, path: str) -> list[str]:
    if obj.get("deleted"):
        return [] if set(obj) == {"id", "object", "deleted"} else [f"{path}: a tombstone with more fields"]
    hints = fields_of(cls)
    problems = [f"{path}.{name}: unknown to the SDK" for name in obj if name not in hints]
    for name, hint in hints.items():
        if name not in obj:
            if not is_optional(hint):
                problems.append(f"{path}.{name}: missing")
        else:
            problems += _of_hint(obj[name], hint, cls, f"{path}.{name}")
    return problems


def _of_hint(value: Any, hint: Any, cls: type, path: str) -> list[str]:
    if value is None:
        return [] if is_optional(hint) else [f"{path}: null"]
    if isinstance(value, dict):
        return _of_dict(value, hint, cls, path)
    if isinstance(value, list):
        if list not in _origins(hint):
            return [f"{path}: an array, declared {hint}"]
        item = next(part for part in _parts(hint) if get_origin(part) is list)
        return [
            problem
            for index, element in enumerate(value)
            for problem in _of_hint(element, get_args(item)[0], cls, f"{path}[{index}]")
        ]
    return _of_scalar(value, hint, path)


def _of_dict(value: dict[str, Any], hint: Any, cls: type, path: str) -> list[str]:
    if value.get("object") == "list":
        if ListObject not in _origins(hint):
            return [f"{path}: a list, declared {hint}"]
        absent = [f"{path}.{name}: missing" for name in ("data", "has_more", "url") if name not in value]
        return absent + [p for element in value["data"] for p in shape_problems(element)]
    if UntypedStripeObject in _origins(hint) or dict in _origins(hint) or UntypedStripeObject in _parts(hint):
        return []
    classes = [found for found in reference_classes(hint, cls.__module__) if issubclass(found, StripeObject)]
    if isinstance(value.get("object"), str):
        return shape_problems(value)
    if not classes:
        return [f"{path}: a hash, declared {hint}"]
    return _of_class(value, classes[0], path)


def _of_scalar(value: Any, hint: Any, path: str) -> list[str]:
    literals: list[Any] = []
    for part in _parts(hint):
        if get_origin(part) in _LITERALS:
            literals += get_args(part)
        elif part in _SCALARS and isinstance(value, _SCALARS[part]):
            if isinstance(value, bool) == (part is bool):
                return _of_open_enum(value, hint, path)
        elif _is_expandable(part, value):
            return []
    return [] if value in literals else [f"{path}: {value!r}, declared {hint}"]


def _of_open_enum(value: Any, hint: Any, path: str) -> list[str]:
    """The SDK leaves enums open with ``| str``; the sandbox has no reason to leave the named values."""
    named = [v for part in _parts(hint) if get_origin(part) in _LITERALS for v in get_args(part)]
    if named and isinstance(value, str) and value not in named:
        return [f"{path}: {value!r} is none of {named}"]
    return []


def _is_expandable(part: Any, value: Any) -> bool:
    from decimal import Decimal

    return part is Decimal and isinstance(value, str)


def _parts(hint: Any) -> list[Any]:
    if get_origin(hint) in _UNIONS:
        return [inner for part in get_args(hint) for inner in _parts(part)]
    return [hint]


def _origins(hint: Any) -> list[Any]:
    return [get_origin(part) for part in _parts(hint)]
