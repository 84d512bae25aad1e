"""Parameter checking against the SDK's own ``stripe.params`` TypedDicts.

Those types are generated from Stripe's OpenAPI document, so they are the contract: what they don't name is unknown,
what isn't ``NotRequired`` is required, and their literals are the allowed values. The SDK keeps enums open with
``Literal[...] | str`` for forward compatibility; the API does not, so neither does this module.
"""

from __future__ import annotations

import difflib
import functools
import types
import typing
from collections.abc import Callable, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, Literal, NotRequired, Union, get_args, get_origin, is_typeddict

import stripe
import stripe._request_options
import typing_extensions
from stripe._stripe_context import StripeContext
from stripe._stripe_object import UntypedStripeObject

from sandbox.engine.errors import ParamError

Decoder = Callable[[Any, str], Any]
"""(raw value, its name such as ``items[0][price]``) -> typed value; raises ParamError."""

_NAMESPACE = {**vars(typing), **vars(stripe._request_options), "StripeContext": StripeContext}
_OPTION_KEYS = frozenset(stripe._request_options.RequestOptions.__annotations__)
_OPTIONAL: tuple[Any, ...] = (NotRequired, typing_extensions.NotRequired)
_LITERAL: tuple[Any, ...] = (Literal, typing_extensions.Literal)
_UNIONS: tuple[Any, ...] = (Union, types.UnionType)


def resolve_params(name: str) -> type:
    """Return the TypedDict called ``name`` below ``stripe.params``, e.g. ``billing.MeterCreateParams``.

    Raises:
        AttributeError: the SDK has no such type.
    """
    import importlib

    module_name, _, class_name = name.rpartition(".")
    module = importlib.import_module("stripe.params" + ("." + module_name if module_name else ""))
    params: type = getattr(module, class_name)
    return params


@functools.cache
def compile_params(name: str | None) -> Callable[[Mapping[str, Any]], dict[str, Any]]:
    """Return the checker for one operation. ``None`` accepts nothing but ``expand``."""
    if name is None:
        return _check_only_expand
    decode = _typed_dict_decoder(resolve_params(name))

    def check(raw: Mapping[str, Any]) -> dict[str, Any]:
        typed: dict[str, Any] = decode(raw, "")
        return typed

    return check


def _check_only_expand(raw: Mapping[str, Any]) -> dict[str, Any]:
    return _typed_fields_decode(raw, "", {"expand": _list(_decode_str)}, ())


def _child(path: str, name: str) -> str:
    return f"{path}[{name}]" if path else name


@functools.cache
def _typed_dict_decoder(params: type) -> Decoder:
    """Compile lazily: nested types are resolved on first use, which also allows them to be recursive."""
    compiled: list[tuple[dict[str, Decoder], tuple[str, ...]]] = []

    def decode(raw: Any, path: str) -> Any:
        if not compiled:
            compiled.append(_compile_fields(params))
        fields, required = compiled[0]
        return _typed_fields_decode(raw, path, fields, required)

    return decode


def _compile_fields(params: type) -> tuple[dict[str, Decoder], tuple[str, ...]]:
    hints = typing_extensions.get_type_hints(params, localns=_NAMESPACE, include_extras=True)
    fields: dict[str, Decoder] = {}
    required: list[str] = []
    for name, hint in hints.items():
        if name in _OPTION_KEYS:
            continue
        # The SDK renames what Python reserves: `from_` is `from` on the wire.
        wire_name = name.rstrip("_") if name.endswith("_") else name
        if get_origin(hint) in _OPTIONAL:
            hint = get_args(hint)[0]
        else:
            required.append(wire_name)
        fields[wire_name] = _decoder(hint)
    return fields, tuple(required)


def _typed_fields_decode(
    raw: Any, path: str, fields: Mapping[str, Decoder], required: tuple[str, ...]
) -> dict[str, Any]:
    if not isinstance(raw, Mapping):
        raise ParamError("Invalid object", param=path)
    typed: dict[str, Any] = {}
    for name, value in raw.items():
        decode = fields.get(name)
        if decode is None:
            raise _unknown([key for key in raw if key not in fields], path, fields)
        typed[name] = decode(value, f"{path}[{name}]" if path else name)
    for name in required:
        if name not in typed:
            param = _child(path, name)
            raise ParamError(f"Missing required param: {param}.", param=param, code="parameter_missing")
    return typed


def _unknown(names: list[str], path: str, fields: Mapping[str, Decoder]) -> ParamError:
    listed = ", ".join(_child(path, name) for name in names)
    message = f"Received unknown parameter{'s' if len(names) > 1 else ''}: {listed}"
    near = difflib.get_close_matches(names[0], list(fields), n=1, cutoff=0.7) if len(names) == 1 else []
    if near:
        message += f". Did you mean {_child(path, near[0])}?"
    return ParamError(message, param=_child(path, names[0]), code="parameter_unknown")


def _decoder(hint: Any) -> Decoder:
    origin = get_origin(hint)
    if origin in _LITERAL or origin in _UNIONS:
        return _choice(hint)
    if is_typeddict(hint) or typing_extensions.is_typeddict(hint):
        return _typed_dict_decoder(hint)
    if origin is list:
        return _list(_decoder(get_args(hint)[0]))
    if origin in (dict, UntypedStripeObject):
        return _mapping(_decoder(get_args(hint)[-1]))
    try:
        return _SCALARS[hint]
    except KeyError:
        raise TypeError(f"stripe.params uses a type that the sandbox does not know: {hint!r}") from None


def _decode_str(value: Any, path: str) -> str:
    if isinstance(value, str):
        if value:
            return value
        raise _empty(path)
    if isinstance(value, Mapping | list):
        raise ParamError(f"Invalid string: {value}", param=path)
    return str(value)


def _decode_int(value: Any, path: str) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str):
        if not value:
            raise _empty(path)
        digits = value[1:] if value[0] in "+-" else value
        if digits.isascii() and digits.isdigit():
            return int(value)
    raise ParamError(f"Invalid integer: {value}", param=path, code="parameter_invalid_integer")


def _decode_bool(value: Any, path: str) -> bool:
    if value is True or value == "true":
        return True
    if value is False or value == "false":
        return False
    if value == "":
        raise _empty(path)
    raise ParamError(f"Invalid boolean: {value}", param=path)


def _decode_decimal(value: Any, path: str) -> str:
    """Check a decimal and keep it a string, so that no digit is lost on the way."""
    text = str(value)
    try:
        number = Decimal(text)
    except InvalidOperation:
        number = Decimal("NaN")
    if not text.isascii() or not number.is_finite():
        raise ParamError(f"Invalid decimal: {value}", param=path)
    exponent = number.as_tuple().exponent
    if isinstance(exponent, int) and exponent < -12:
        raise ParamError(f"Invalid decimal: {value}; must have at most 12 decimal places", param=path)
    return text


def _decode_float(value: Any, path: str) -> float:
    """Percentages and ratios: numbers in Stripe's JSON. No amount of money has this type."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = float("nan")
    if number != number or number in (float("inf"), float("-inf")):
        raise ParamError(f"Invalid number: {value}", param=path)
    return number


def _decode_any(value: Any, path: str) -> Any:
    return value


_SCALARS: dict[Any, Decoder] = {
    str: _decode_str,
    int: _decode_int,
    bool: _decode_bool,
    Decimal: _decode_decimal,
    float: _decode_float,
    Any: _decode_any,
}


def _empty(path: str) -> ParamError:
    return ParamError(
        f"You passed an empty string for '{path}'. We assume empty values are an attempt to unset a parameter; "
        f"however '{path}' cannot be unset. You should remove '{path}' from your request or supply a non-empty "
        "value.",
        param=path,
        code="parameter_invalid_empty",
    )


def _list(item: Decoder) -> Decoder:
    def decode(value: Any, path: str) -> list[Any]:
        if isinstance(value, Mapping):
            if not all(key.isdigit() for key in value):
                raise ParamError("Invalid array", param=path)
            value = [value[key] for key in sorted(value, key=int)]
        if not isinstance(value, list):
            raise _empty(path) if value == "" else ParamError("Invalid array", param=path)
        return [item(element, f"{path}[{index}]") for index, element in enumerate(value)]

    return decode


def _mapping(item: Decoder) -> Decoder:
    """Free-form hashes (metadata): an empty value is kept, it means "remove this key"."""

    def decode(value: Any, path: str) -> dict[str, Any]:
        if not isinstance(value, Mapping):
            raise ParamError("Invalid object", param=path)
        return {key: "" if v == "" else item(v, f"{path}[{key}]") for key, v in value.items()}

    return decode


def _choice(hint: Any) -> Decoder:
    literals, scalars, structures = _split_choice(hint)
    allowed = frozenset(literals)
    named = [literal for literal in literals if literal != ""]
    if named:
        scalars = [scalar for scalar in scalars if scalar is not str]

    def decode(value: Any, path: str) -> Any:
        if isinstance(value, Mapping | list):
            if not structures:
                raise ParamError(f"Invalid string: {value}", param=path)
            return _first_fitting(structures, value, path)
        if isinstance(value, str) and value in allowed:
            return value
        if named and not scalars:
            raise ParamError(f"Invalid {path}: must be {_one_of(named)}", param=path)
        if not scalars:
            raise ParamError("Invalid object", param=path)
        return _first_fitting([_SCALARS[scalar] for scalar in scalars], value, path)

    return decode


def _split_choice(hint: Any) -> tuple[list[str], list[Any], list[Decoder]]:
    if get_origin(hint) in _LITERAL:
        return list(get_args(hint)), [], []
    literals: list[str] = []
    scalars: list[Any] = []
    structures: list[Decoder] = []
    for option in get_args(hint):
        if get_origin(option) in (*_LITERAL, *_UNIONS):
            inner = _split_choice(option)
            literals += inner[0]
            scalars += inner[1]
            structures += inner[2]
        elif option in _SCALARS:
            scalars.append(option)
        elif get_origin(option) is not UntypedStripeObject:  # always beside the Dict that says the same
            structures.append(_decoder(option))
    # int before str: a number stays a number where both are allowed.
    scalars.sort(key=lambda scalar: scalar is str)
    return literals, scalars, structures


def _first_fitting(options: list[Decoder], value: Any, path: str) -> Any:
    failure: ParamError | None = None
    for option in options:
        try:
            return option(value, path)
        except ParamError as error:
            failure = failure or error
    assert failure is not None
    raise failure


def _one_of(values: list[str]) -> str:
    if len(values) == 1:
        return str(values[0])
    listed = ", ".join(values[:-1])
    return f"one of {listed}{',' if len(values) > 2 else ''} or {values[-1]}"


API_VERSION: str = stripe.api_version
"""The one API version the sandbox speaks: the SDK's pin."""
