"""What billing tests need in a sandbox: a customer who can pay, prices, time that passes."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import stripe

from tests.sandbox.process import SandboxProcess


def at(year: int, month: int, day: int, hour: int = 0, minute: int = 0) -> int:
    """Epoch seconds of a moment in UTC."""
    return int(datetime(year, month, day, hour, minute, tzinfo=UTC).timestamp())


class World:
    """A sandbox with one test clock and one product; shorthands over the SDK."""

    def __init__(self, sandbox: SandboxProcess, frozen_time: int) -> None:
        self.sandbox = sandbox
        self.v1 = sandbox.client.v1
        self.clock = self.v1.test_helpers.test_clocks.create({"frozen_time": frozen_time})
        self.product = self.v1.products.create({"name": "Delivery"})

    def customer(self, card: str | None = "pm_card_visa", **params: Any) -> stripe.Customer:
        """A customer on the clock, charged to `card`."""
        if card:
            params |= {"payment_method": card, "invoice_settings": {"default_payment_method": card}}
        given: Any = {
            "name": "Acme Ltd",
            "email": "billing@example.com",
            "test_clock": self.clock.id,
            **params,
        }
        return self.v1.customers.create(given)

    def licensed(
        self, amount: int = 9_900, currency: str = "usd", interval: str = "month", **params: Any
    ) -> stripe.Price:
        """A flat fee in advance."""
        given: Any = {
            "product": self.product.id,
            "currency": currency,
            "unit_amount": amount,
            "recurring": {"interval": interval},
            **params,
        }
        return self.v1.prices.create(given)

    def meter(self, name: str = "impressions", formula: str = "sum") -> stripe.billing.Meter:
        """A meter whose event name is `name`."""
        params: Any = {
            "display_name": name,
            "event_name": name,
            "default_aggregation": {"formula": formula},
            "customer_mapping": {"type": "by_id", "event_payload_key": "stripe_customer_id"},
            "value_settings": {"event_payload_key": "value"},
        }
        return self.v1.billing.meters.create(params)

    def metered(
        self, meter: stripe.billing.Meter, *tiers: tuple[int | str, str], currency: str = "usd"
    ) -> stripe.Price:
        """A graduated price in arrears."""
        params: Any = {
            "product": self.product.id,
            "currency": currency,
            "billing_scheme": "tiered",
            "tiers_mode": "graduated",
            "tiers": [{"up_to": up_to, "unit_amount_decimal": unit} for up_to, unit in tiers],
            "recurring": {"interval": "month", "usage_type": "metered", "meter": meter.id},
        }
        return self.v1.prices.create(params)

    def subscribe(
        self, customer: stripe.Customer, *prices: stripe.Price, **params: Any
    ) -> stripe.Subscription:
        """A subscription with one item per price."""
        items = [{"price": price.id} for price in prices]
        given: Any = {"customer": customer.id, "items": items, **params}
        return self.v1.subscriptions.create(given)

    def use(
        self, customer: stripe.Customer, value: int | str, timestamp: int | None = None, **params: Any
    ) -> Any:
        """Report usage on the meter `impressions`."""
        given: Any = {
            "event_name": "impressions", "payload": {"stripe_customer_id": customer.id, "value": str(value)}, **params
        }  # fmt: skip
        if timestamp is not None:
            given["timestamp"] = timestamp
        return self.v1.billing.meter_events.create(given)

    def advance(self, frozen_time: int, clock: str | None = None) -> None:
        """Let time pass and wait until all of it has happened."""
        clock = clock or self.clock.id
        self.v1.test_helpers.test_clocks.advance(clock, {"frozen_time": frozen_time})
        self.sandbox.wait_for(
            lambda: self.v1.test_helpers.test_clocks.retrieve(clock).status == "ready", what="the clock"
        )

    def invoices(self, customer: stripe.Customer) -> list[stripe.Invoice]:
        """The customer's invoices, oldest first."""
        return self.v1.invoices.list({"customer": customer.id, "limit": 100}).data[::-1]

    def latest(self, customer: stripe.Customer) -> stripe.Invoice:
        """The customer's newest invoice."""
        return self.v1.invoices.list({"customer": customer.id, "limit": 1}).data[0]


def lines_of(invoice: stripe.Invoice) -> list[tuple[int | None, int]]:
    """Quantity and amount of each line."""
    return [(line.quantity, line.amount) for line in invoice.lines.data]
