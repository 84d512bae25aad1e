"""What can go wrong when talking to Stripe, in our words.

The question a caller must be able to answer is "did it happen?". `GatewayUnavailable.outcome_unknown` says so; every
other error here means that Stripe answered and did not do it.
"""

from __future__ import annotations

from billing_worker.core.errors import BillingError


class GatewayError(BillingError):
    """Stripe did not do what was asked. Base class: catch a specific one where you can act on it."""

    code = "gateway_error"
    http_status = 502


class GatewayNotConfigured(GatewayError):
    """No `STRIPE_SECRET_KEY`: nothing can be sent. Set the key, or stay in shadow mode."""

    code = "gateway_not_configured"
    http_status = 503


class GatewayUnavailable(GatewayError):
    """No usable answer: connection error, time-out or 5xx.

    `outcome_unknown` is False only when the request provably never reached Stripe (connection refused, DNS). Otherwise
    it may have been executed: repeat it with the same idempotency key, or look before doing it again.
    """

    code = "gateway_unavailable"
    http_status = 503

    def __init__(self, message: str, *, outcome_unknown: bool, **context: object) -> None:
        super().__init__(message, **context)
        self.outcome_unknown = outcome_unknown


class GatewayRateLimited(GatewayError):
    """429, or 409 for a lock or an idempotency key in use: not executed; wait and send the same again."""

    code = "gateway_rate_limited"
    http_status = 503


class GatewayRejected(GatewayError):
    """Stripe refused the request; the same request will be refused again.

    `stripe_code` and `param` are Stripe's own, `status` is the HTTP status.
    """

    code = "gateway_rejected"

    def __init__(
        self, message: str, *, stripe_code: str | None, param: str | None, status: int, **context: object
    ) -> None:
        super().__init__(message, **context)
        self.stripe_code = stripe_code
        self.param = param
        self.status = status


class GatewayNotFound(GatewayRejected):
    """The object does not exist at Stripe (or not under this key)."""

    code = "gateway_not_found"
    http_status = 404


class DuplicateMeterEvent(GatewayRejected):
    """Stripe already holds a meter event with this identifier: the earlier call did happen."""

    code = "duplicate_meter_event"
    http_status = 409


class PaymentDeclined(GatewayRejected):
    """The payment method was declined (402). `stripe_code` holds the card error's code."""

    code = "payment_declined"
    http_status = 402


class SignatureRejected(BillingError):
    """A webhook whose signature is missing, malformed, too old, too new or wrong. `reason` is a metric's label."""

    code = "signature_rejected"
    http_status = 400

    def __init__(self, message: str, *, reason: str) -> None:
        super().__init__(message)
        self.reason = reason
