"""Collection of money by other resources: the one function that charges a customer."""

from __future__ import annotations

from sandbox.engine.context import Context
from sandbox.engine.errors import JsonObject, StripeError


def charge_customer(
    ctx: Context,
    customer_id: str,
    amount: int,
    currency: str,
    invoice_id: str | None,
    payment_method: str | None = None,
) -> tuple[JsonObject | None, StripeError | None]:
    """Charge a customer off session for an invoice.

    ``amount`` is in the currency's minor unit and positive. ``payment_method`` (an id) wins over the customer's
    ``invoice_settings.default_payment_method`` and ``default_source``.

    Returns the payment intent and None where the money came; the payment intent (status
    ``requires_payment_method``, ``last_payment_error`` set) and the 402 ``card_error`` where the card was declined;
    (None, a 400) where the customer has nothing to pay with. Emits ``payment_intent.*`` and ``charge.*``; the events
    of the invoice are the caller's.
    """
    raise NotImplementedError
