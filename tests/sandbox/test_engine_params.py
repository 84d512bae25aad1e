"""Parameters are held against the SDK's own types, in Stripe's words."""

from __future__ import annotations

from typing import Any

import pytest
import typing_extensions

import sandbox.resources  # noqa: F401
from sandbox.engine.errors import ParamError
from sandbox.engine.form import decode_form
from sandbox.engine.params import _NAMESPACE, _compile_fields, compile_params, resolve_params
from sandbox.engine.routing import OPERATIONS

REGISTERED = sorted({o.params for o in OPERATIONS if o.params})


@pytest.mark.parametrize("name", REGISTERED)
def test_every_registered_type_resolves_to_its_last_leaf(name: str) -> None:
    pending, seen = [resolve_params(name)], set()
    while pending:
        params = pending.pop()
        seen.add(params)
        _compile_fields(params)
        for hint in typing_extensions.get_type_hints(params, localns=_NAMESPACE).values():
            pending += [found for found in _typed_dicts(hint) if found not in seen]
    assert seen


def _typed_dicts(hint: Any) -> list[type]:
    if typing_extensions.is_typeddict(hint):
        return [hint]
    return [found for part in typing_extensions.get_args(hint) for found in _typed_dicts(part)]


def check(name: str, form: str) -> dict[str, Any]:
    return compile_params(name)(decode_form(form))


def refused(name: str, form: str) -> ParamError:
    with pytest.raises(ParamError) as error:
        check(name, form)
    return error.value


def test_values_arrive_typed() -> None:
    assert check(
        "PriceCreateParams",
        "currency=usd&unit_amount_decimal=0.123456789012&active=false&recurring[interval]=month"
        "&recurring[interval_count]=3&metadata[a]=1&metadata[b]=&product=prod_1",
    ) == {
        "currency": "usd",
        "unit_amount_decimal": "0.123456789012",
        "active": False,
        "recurring": {"interval": "month", "interval_count": 3},
        "metadata": {"a": "1", "b": ""},
        "product": "prod_1",
    }


@pytest.mark.parametrize(
    "form", ["tiers[0][up_to]=5&tiers[1][up_to]=inf", "tiers[][up_to]=5&tiers[][up_to]=inf"]
)
def test_arrays_come_indexed_or_appended(form: str) -> None:
    assert check("PriceCreateParams", f"currency=usd&{form}")["tiers"] == [{"up_to": 5}, {"up_to": "inf"}]


def test_appended_hashes_fill_up_before_a_new_one_starts() -> None:
    form = "tiers[][up_to]=5&tiers[][unit_amount]=1&tiers[][up_to]=inf&tiers[][unit_amount]=2"
    assert check("PriceCreateParams", f"currency=usd&{form}")["tiers"] == [
        {"up_to": 5, "unit_amount": 1},
        {"up_to": "inf", "unit_amount": 2},
    ]


def test_indexes_are_ordered_as_numbers() -> None:
    form = "&".join(f"expand[{index}]=e{index}" for index in (10, 2, 0))
    assert check("CustomerRetrieveParams", form)["expand"] == ["e0", "e2", "e10"]


@pytest.mark.parametrize(
    ("name", "form", "message", "code", "param"),
    [
        (
            "CustomerCreateParams", "emial=a", "Received unknown parameter: emial. Did you mean email?",
            "parameter_unknown", "emial",
        ),
        (
            "CustomerCreateParams", "address[town]=Bern", "Received unknown parameter: address[town]",
            "parameter_unknown", "address[town]",
        ),
        (
            "CustomerCreateParams", "foo=1&bar=2", "Received unknown parameters: foo, bar",
            "parameter_unknown", "foo",
        ),
        ("PriceCreateParams", "unit_amount=5", "Missing required param: currency.", "parameter_missing", "currency"),
        (
            "PriceCreateParams", "currency=usd&recurring[usage_type]=licensed",
            "Missing required param: recurring[interval].", "parameter_missing", "recurring[interval]",
        ),
        (
            "PriceCreateParams", "currency=usd&unit_amount=1.5", "Invalid integer: 1.5",
            "parameter_invalid_integer", "unit_amount",
        ),
        (
            "PriceCreateParams", "currency=usd&unit_amount=٣", "Invalid integer: ٣",
            "parameter_invalid_integer", "unit_amount",
        ),
        ("PriceCreateParams", "currency=usd&active=yes", "Invalid boolean: yes", None, "active"),
        (
            "PriceCreateParams", "currency=usd&recurring[interval]=moth",
            "Invalid recurring[interval]: must be one of day, month, week, or year", None, "recurring[interval]",
        ),
        (
            "PriceCreateParams", "currency=usd&unit_amount_decimal=NaN", "Invalid decimal: NaN",
            None, "unit_amount_decimal",
        ),
        (
            "PriceCreateParams", "currency=usd&unit_amount_decimal=0.1234567890123",
            "Invalid decimal: 0.1234567890123; must have at most 12 decimal places", None, "unit_amount_decimal",
        ),
        ("PriceCreateParams", "currency=usd&recurring=month", "Invalid object", None, "recurring"),
        ("PriceCreateParams", "currency=usd&expand=tiers", "Invalid array", None, "expand"),
        ("PriceCreateParams", "currency[a]=usd", "Invalid string: {'a': 'usd'}", None, "currency"),
    ],
)  # fmt: skip
def test_refusals_name_the_parameter(
    name: str, form: str, message: str, code: str | None, param: str
) -> None:
    error = refused(name, form)
    assert (error.status, error.message, error.code, error.param) == (400, message, code, param)


def test_an_empty_value_unsets_only_where_stripe_lets_it() -> None:
    assert check("CustomerModifyParams", "metadata=&address=&phone=1") == {
        "metadata": "",
        "address": "",
        "phone": "1",
    }
    assert refused("CustomerCreateParams", "invoice_prefix=").code == "parameter_invalid_empty"


@pytest.mark.parametrize("form", ["a[b=1", "[a]=1", "a=1&a[b]=2", "a" + "[b]" * 20 + "=1"])
def test_malformed_names_are_refused(form: str) -> None:
    with pytest.raises(ParamError):
        decode_form(form)


def test_operations_without_parameters_take_expand_only() -> None:
    assert compile_params(None)({"expand": {"0": "customer"}}) == {"expand": ["customer"]}
    with pytest.raises(ParamError):
        compile_params(None)({"limit": "1"})
