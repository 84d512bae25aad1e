"""The root of every error that this project raises on purpose.

A specific error lives beside the function that raises it and derives from one of these. The web layer maps
them to HTTP once (`billing_worker/api_errors.py`), management commands print them as one line and exit 2.
"""

from __future__ import annotations

from typing import ClassVar


class BillingError(Exception):
    """Something a person can act on. `str(error)` is one line that says what happened and what to do.

    `code` is stable and machine readable; `http_status` is what an API answers with.
    """

    code: ClassVar[str] = "billing_error"
    http_status: ClassVar[int] = 400

    def __init__(self, message: str, **context: object) -> None:
        super().__init__(message)
        self.context = context


class InvalidInput(BillingError):
    """The caller's data is wrong. `fields` maps a field's name to its reasons."""

    code = "invalid_input"
    http_status = 422

    def __init__(
        self, message: str, *, fields: dict[str, list[str]] | None = None, **context: object
    ) -> None:
        super().__init__(message, **context)
        self.fields = fields or {}


class NotFound(BillingError):
    """A thing that was named does not exist here."""

    code = "not_found"
    http_status = 404


class Conflict(BillingError):
    """The request is well formed, but the present state does not allow it."""

    code = "conflict"
    http_status = 409


class NotAllowed(BillingError):
    """The person or key lacks the role or scope for this."""

    code = "not_allowed"
    http_status = 403


class Unavailable(BillingError):
    """Something outside did not answer; the same call may work later."""

    code = "unavailable"
    http_status = 503
