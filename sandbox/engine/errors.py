"""Stripe's error answers as exceptions."""

from __future__ import annotations

from typing import Any

JsonObject = dict[str, Any]

DOC_URL = "https://stripe.com/docs/error-codes/"


class StripeError(Exception):
    """An answer other than 2xx. Raise it from a handler; the engine turns it into Stripe's error body.

    What the handler stored and emitted before raising stays: a declined payment leaves its trace, as in Stripe.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        type: str = "invalid_request_error",
        code: str | None = None,
        param: str | None = None,
        decline_code: str | None = None,
        extra: JsonObject | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.type = type
        self.code = code
        self.param = param
        self.decline_code = decline_code
        self.extra = extra or {}

    def body(self, request_id: str) -> JsonObject:
        """Return the JSON body, keys in alphabetical order as Stripe sends them."""
        error: JsonObject = {"message": self.message, "type": self.type, **self.extra}
        if self.code:
            error["code"] = self.code
            error["doc_url"] = DOC_URL + self.code.replace("_", "-")
        if self.param:
            error["param"] = self.param
        if self.decline_code:
            error["decline_code"] = self.decline_code
        error["request_log_url"] = f"https://dashboard.stripe.com/test/logs/{request_id}"
        return {"error": dict(sorted(error.items()))}


class ParamError(StripeError):
    """A parameter that was refused before anything ran; such answers are not kept for idempotent replay."""

    def __init__(self, message: str, *, param: str, code: str | None = None) -> None:
        super().__init__(400, message, code=code, param=param)


def missing(kind: str, id: str, param: str = "id") -> StripeError:
    """Return the 404 for an object that does not exist, e.g. ``missing("customer", "cus_1", "customer")``."""
    noun = _NOUNS.get(kind, kind.rsplit(".", 1)[-1].replace("_", " "))
    return StripeError(404, f"No such {noun}: '{id}'", code="resource_missing", param=param)


def invalid(param: str, message: str, code: str | None = None) -> StripeError:
    """Return a 400 that names the offending parameter."""
    return StripeError(400, message, code=code, param=param)


_NOUNS = {
    "payment_method": "PaymentMethod",
    "payment_intent": "payment_intent",
    "setup_intent": "setupintent",
    "subscription_item": "subscription_item",
    "invoiceitem": "invoiceitem",
    "credit_note": "credit note",
    "webhook_endpoint": "webhook endpoint",
}
