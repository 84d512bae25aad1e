"""The REST edge: strict JSON in, one shape of error out.

Every refusal is `{"error": {"code", "message", "fields"?}}`. `BillingError` carries its own status; nothing that a
client sends can produce a stack trace.
"""

from __future__ import annotations

import json
from decimal import Decimal
from typing import IO, Any

from rest_framework import exceptions, status
from rest_framework.parsers import JSONParser
from rest_framework.response import Response

from billing_worker.core.errors import BillingError, InvalidInput


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def loads_strict(text: str | bytes) -> Any:
    """JSON with decimals as `Decimal`, and without NaN or Infinity.

    Raises:
        ValueError: not JSON, or nested deeper than the parser can follow.
    """
    try:
        return json.loads(text, parse_float=Decimal, parse_constant=_refuse_constant)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


class StrictJSONParser(JSONParser):
    """JSON as `loads_strict` reads it: no float ever touches a quantity or an amount."""

    def parse(self, stream: IO[Any], media_type: str | None = None, parser_context: Any = None) -> Any:
        try:
            return loads_strict(stream.read())
        except ValueError as error:
            raise exceptions.ParseError(f"the body is not valid JSON: {error}") from error


def build_error(code: str, message: str, fields: object = None) -> dict[str, Any]:
    error: dict[str, Any] = {"code": code, "message": message}
    if fields:
        error["fields"] = fields
    return {"error": error}


def handle_exception(exc: Exception, context: dict[str, Any]) -> Response | None:
    """DRF's exception handler: our errors and DRF's own in one shape; programming errors propagate."""
    if isinstance(exc, BillingError):
        fields = exc.fields if isinstance(exc, InvalidInput) else None
        return Response(build_error(exc.code, str(exc), fields), status=exc.http_status)
    if isinstance(exc, exceptions.ValidationError):
        return Response(
            build_error("invalid_input", "some fields are not valid", exc.detail),
            status=status.HTTP_400_BAD_REQUEST,
        )
    # Here and not above: DRF's views load this module by name from the settings while they are being imported.
    from rest_framework.views import exception_handler

    response = exception_handler(exc, context)
    if response is not None and isinstance(exc, exceptions.APIException):
        response.data = build_error(
            str(exc.get_codes()) if isinstance(exc.detail, str) else exc.default_code, str(exc.detail)
        )
    return response
