"""The REST edge: strict JSON in, one shape of error out.

Every refusal is `{"error": {"code", "message", "fields"?}}`. `BillingError` carries its own status; nothing that a
client sends can produce a stack trace.
"""

from __future__ import annotations

from typing import IO, Any

from django.conf import settings
from django.core.exceptions import PermissionDenied
from django.http import Http404
from rest_framework import exceptions, status
from rest_framework.parsers import JSONParser
from rest_framework.response import Response

from billing_worker.core.errors import BillingError, InvalidInput
from billing_worker.core.strict_json import loads_strict


class PayloadTooLarge(exceptions.APIException):
    """The body is larger than `DATA_UPLOAD_MAX_MEMORY_SIZE`: send it in parts."""

    status_code = status.HTTP_413_REQUEST_ENTITY_TOO_LARGE
    default_code = "too_large"

    def __init__(self) -> None:
        super().__init__(
            f"the body is larger than {settings.DATA_UPLOAD_MAX_MEMORY_SIZE} bytes: send it in parts"
        )


class StrictJSONParser(JSONParser):
    """JSON as `loads_strict` reads it: no float ever touches a quantity or an amount."""

    def parse(self, stream: IO[Any], media_type: str | None = None, parser_context: Any = None) -> Any:
        # Django's own limit covers `request.body` only; DRF hands over the stream.
        limit = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
        body = stream.read(limit + 1)
        if len(body) > limit:
            raise PayloadTooLarge
        try:
            return loads_strict(body)
        except ValueError as error:
            raise exceptions.ParseError(f"the body is not valid JSON: {error}") from error


def build_error(code: str, message: str, fields: object = None) -> dict[str, Any]:
    """The one shape of a refusal."""
    error: dict[str, Any] = {"code": code, "message": message}
    if fields:
        error["fields"] = fields
    return {"error": error}


def handle_exception(exc: Exception, context: dict[str, Any]) -> Response | None:
    """DRF's exception handler: our errors, Django's and DRF's own in one shape; programming errors propagate."""
    if isinstance(exc, BillingError):
        fields = exc.fields if isinstance(exc, InvalidInput) else None
        return Response(build_error(exc.code, str(exc), fields), status=exc.http_status)
    if isinstance(exc, exceptions.ValidationError):
        return Response(
            build_error("invalid_input", "some fields are not valid", exc.detail),
            status=status.HTTP_400_BAD_REQUEST,
        )
    if isinstance(exc, Http404):
        exc = exceptions.NotFound()
    elif isinstance(exc, PermissionDenied):
        exc = exceptions.PermissionDenied()
    # Here and not above: DRF's views load this module by name from the settings while they are being imported.
    from rest_framework.views import exception_handler

    response = exception_handler(exc, context)
    if response is not None and isinstance(exc, exceptions.APIException):
        response.data = build_error(str(exc.get_codes()), str(exc.detail))
    return response
