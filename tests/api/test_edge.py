"""Strict JSON and the one shape of errors."""

from __future__ import annotations

from decimal import Decimal
from io import BytesIO
from typing import Any

import pytest
from django.core.exceptions import PermissionDenied
from django.http import Http404
from rest_framework import exceptions

from billing_worker.api import PayloadTooLarge, StrictJSONParser, handle_exception
from billing_worker.core.errors import Conflict, InvalidInput
from billing_worker.core.strict_json import loads_strict


def test_fractions_are_exact() -> None:
    assert loads_strict('{"rate": 0.1, "count": 5, "big": 12345678901234567890.5}') == {
        "rate": Decimal("0.1"),
        "count": 5,
        "big": Decimal("12345678901234567890.5"),
    }


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "NaN",
        '{"a": -Infinity}',
        "[" * 100_000,
        "1" * 5000,
        '{"a": 1, "a": 2}',
        '{"a": {"b": 1, "b": 1}}',
        r'"\ud800"',
        r'{"\uDFFF": 1}',
        b"\xff\xfe\xfd",
    ],
)
def test_what_is_not_strict_json_is_a_value_error(text) -> None:
    with pytest.raises(ValueError, match=r".+"):
        loads_strict(text)


def test_a_whole_character_in_escapes_is_text() -> None:
    assert loads_strict(r'"\ud83d\ude00"') == "😀"


def test_the_parser_reads_no_more_than_the_limit(settings) -> None:
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 10
    assert StrictJSONParser().parse(BytesIO(b'{"a":1234}')) == {"a": 1234}
    stream = BytesIO(b"1" * 1000)
    with pytest.raises(PayloadTooLarge):
        StrictJSONParser().parse(stream)
    assert stream.tell() == 11


def test_bad_json_is_a_400() -> None:
    with pytest.raises(exceptions.ParseError, match="stands twice"):
        StrictJSONParser().parse(BytesIO(b'{"a":1,"a":2}'))


@pytest.mark.parametrize(
    ("error", "status", "body"),
    [
        (Conflict("already signed"), 409, {"code": "conflict", "message": "already signed"}),
        (
            InvalidInput("bad", fields={"quantity": ["negative"]}),
            422,
            {"code": "invalid_input", "message": "bad", "fields": {"quantity": ["negative"]}},
        ),
        (Http404("secret path"), 404, {"code": "not_found", "message": "Not found."}),
        (
            PermissionDenied("secret reason"),
            403,
            {
                "code": "permission_denied",
                "message": "You do not have permission to perform this action.",
            },
        ),
        (exceptions.ParseError("no"), 400, {"code": "parse_error", "message": "no"}),
        (
            exceptions.ValidationError({"at": ["is not a time"]}),
            400,
            {
                "code": "invalid_input",
                "message": "some fields are not valid",
                "fields": {"at": ["is not a time"]},
            },
        ),
    ],
)
def test_every_refusal_has_one_shape(error, status, body) -> None:
    response = handle_exception(error, {})
    assert response is not None
    assert (response.status_code, response.data) == (status, {"error": body})


def test_programming_errors_propagate() -> None:
    assert handle_exception(KeyError("x"), {}) is None


def test_an_anonymous_request_is_401_in_the_same_shape(client: Any, db: None) -> None:
    answer = client.post("/usage", b"{}", content_type="application/json")
    assert answer.status_code == 401
    assert answer.json()["error"]["code"] == "not_authenticated"
