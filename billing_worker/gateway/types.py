"""Stripe's objects as this project sees them: frozen, typed, and in our vocabulary.

Amounts are whole minor units of `currency` (lower case ISO 4217), rates are `Decimal` minor units, times are aware UTC.
Related objects are ids. Fields that Stripe leaves out or sends as null are `None`, empty text or empty tuples.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """A postal address; `country` is ISO 3166-1 alpha-2."""

    line1: str = ""
    line2: str = ""
    city: str = ""
    state: str = ""
    postal_code: str = ""
    country: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaxId:
    """A customer's tax number, like type `eu_vat`."""

    type: str
    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CustomerTaxId:
    """A tax id as an object of its customer's. `status` is `pending`, `verified`, `unverified` or `unavailable`."""

    id: str
    type: str
    value: str
    country: str
    status: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Customer:
    """`tax_exempt` is `none`, `exempt` or `reverse`. `tax_ids`, oldest first, is only filled where it was asked for."""

    id: str
    name: str
    email: str
    address: Address | None
    balance_minor: int
    default_payment_method: str | None
    preferred_locales: tuple[str, ...]
    tax_exempt: str
    tax_ids: tuple[CustomerTaxId, ...]
    test_clock: str | None
    is_deleted: bool
    created_at: datetime | None
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Meter:
    """`status` is `active` or `inactive`; `event_name` is unique among active meters."""

    id: str
    event_name: str
    display_name: str
    status: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    id: str
    name: str
    is_active: bool
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceTier:
    """One step of a graduated price. `up_to` is the last unit in it (inclusive), None for the last tier."""

    up_to: int | None
    unit_amount_decimal: Decimal
    flat_amount_decimal: Decimal | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """`usage_type` is `licensed` or `metered`; `tiers` is empty unless `billing_scheme` is `tiered` and expanded."""

    id: str
    product: str
    currency: str
    lookup_key: str | None
    nickname: str
    is_active: bool
    billing_scheme: str
    unit_amount_decimal: Decimal | None
    tiers_mode: str | None
    tiers: tuple[PriceTier, ...]
    usage_type: str | None
    meter: str | None
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class SubscriptionItemSpec:
    """An item to subscribe to. `quantity` is None for metered prices."""

    price: str
    quantity: int | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class SubscriptionItemChange:
    """A change of one item: empty `id` adds one; otherwise what is given is exchanged, or the item removed."""

    id: str = ""
    price: str = ""
    quantity: int | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    is_removal: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SubscriptionItem:
    """`[period_start, period_end)` is the item's current billing period."""

    id: str
    price: str
    product: str | None
    quantity: int | None
    period_start: datetime | None
    period_end: datetime | None
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscription:
    id: str
    customer: str
    status: str
    currency: str
    collection_method: str
    days_until_due: int | None
    billing_cycle_anchor_at: datetime | None
    started_at: datetime | None
    created_at: datetime
    cancel_at_period_end: bool
    cancel_at: datetime | None
    canceled_at: datetime | None
    ended_at: datetime | None
    latest_invoice: str | None
    test_clock: str | None
    description: str
    items: tuple[SubscriptionItem, ...]
    has_more_items: bool
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class LineTax:
    """One tax on one line. `percentage` is known where Stripe embeds the rate; `reason` is its taxability reason.

    `is_inclusive`: it is a part of the line's amount (`tax_behavior: inclusive`) and not added to it. `rate` is the id
    of its tax rate.
    """

    amount_minor: int
    taxable_minor: int | None
    percentage: Decimal | None
    reason: str
    is_inclusive: bool = False
    rate: str = ""


def sum_inclusive(taxes: Iterable[LineTax]) -> int:
    """The part of these taxes that is inside the amounts that they are on, in minor units."""
    return sum(tax.amount_minor for tax in taxes if tax.is_inclusive)


@dataclass(frozen=True, slots=True, kw_only=True)
class InvoiceLine:
    """One line of an invoice. `[period_start, period_end)` is what it bills for, whatever the invoice's own period.

    `amount_minor` is before discounts and before taxes on top; taxes in the price are inside it. `tax_minor` is both.
    """

    id: str
    amount_minor: int
    currency: str
    quantity: int | None
    unit_amount_decimal: Decimal | None
    description: str
    period_start: datetime
    period_end: datetime
    price: str | None
    product: str | None
    subscription: str | None
    subscription_item: str | None
    invoice_item: str | None
    is_proration: bool
    discount_minor: int
    tax_minor: int
    taxes: tuple[LineTax, ...] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)

    @property
    def inclusive_tax_minor(self) -> int:
        """The part of `tax_minor` that is inside `amount_minor`."""
        return sum_inclusive(self.taxes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Invoice:
    """`status` is `draft`, `open`, `paid`, `void` or `uncollectible`. `has_more_lines`: `lines` is a first page.

    `customer_tax_exempt` is `none`, `exempt` or `reverse`. `total_tax_minor` is every tax, `inclusive_tax_minor` the
    part of it that is inside the prices; `total_excluding_tax_minor` is Stripe's own total without any of it.
    """

    id: str
    number: str | None
    status: str
    customer: str
    customer_name: str
    customer_email: str
    customer_address: Address | None
    customer_tax_ids: tuple[TaxId, ...]
    customer_tax_exempt: str
    currency: str
    subtotal_minor: int
    total_minor: int
    total_tax_minor: int
    inclusive_tax_minor: int
    total_excluding_tax_minor: int | None
    total_discount_minor: int
    amount_due_minor: int
    amount_paid_minor: int
    amount_remaining_minor: int
    starting_balance_minor: int
    ending_balance_minor: int | None
    billing_reason: str
    collection_method: str
    auto_advance: bool
    created_at: datetime
    period_start: datetime
    period_end: datetime
    finalized_at: datetime | None
    due_at: datetime | None
    paid_at: datetime | None
    voided_at: datetime | None
    hosted_invoice_url: str
    subscription: str | None
    attempt_count: int
    next_payment_attempt_at: datetime | None
    description: str
    footer: str
    test_clock: str | None
    lines: tuple[InvoiceLine, ...]
    has_more_lines: bool
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class InvoiceItem:
    """An amount waiting for, or already on, an invoice."""

    id: str
    customer: str
    amount_minor: int
    currency: str
    description: str
    period_start: datetime
    period_end: datetime
    invoice: str | None
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class CreditNoteLine:
    """One line of a credit note. `invoice_line` is the line that it takes back; None for an amount of its own.

    `amount_minor` is before discounts and taxes on top, as on the invoice; taxes in the price are inside it.
    """

    id: str
    amount_minor: int
    quantity: int | None
    unit_amount_decimal: Decimal | None
    description: str
    invoice_line: str | None
    discount_minor: int
    tax_minor: int
    taxes: tuple[LineTax, ...] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)

    @property
    def inclusive_tax_minor(self) -> int:
        """The part of `tax_minor` that is inside `amount_minor`."""
        return sum_inclusive(self.taxes)


@dataclass(frozen=True, slots=True, kw_only=True)
class CreditNoteLineSpec:
    """So much of an invoice line to take back, before discounts and taxes: Stripe takes those back in proportion."""

    invoice_line: str
    amount_minor: int
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class CreditNote:
    """`status` is `issued` or `void`; the amounts are positive and reduce what the invoice asks for.

    `pre_payment_minor` reduced what was due, `post_payment_minor` gives back what was paid: `refunded_minor`,
    `out_of_band_minor` and the rest to the customer's balance. `has_more_lines`: `lines` is a first page.
    """

    id: str
    number: str
    invoice: str
    customer: str
    status: str
    currency: str
    amount_minor: int
    subtotal_minor: int
    total_minor: int
    total_tax_minor: int
    inclusive_tax_minor: int
    total_excluding_tax_minor: int | None
    total_discount_minor: int
    pre_payment_minor: int
    post_payment_minor: int
    refunded_minor: int
    out_of_band_minor: int
    reason: str
    memo: str
    created_at: datetime
    effective_at: datetime | None
    voided_at: datetime | None
    lines: tuple[CreditNoteLine, ...]
    has_more_lines: bool
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class MeterEventReport:
    """Usage to report. `identifier` has at most 100 characters; `at` lies at most 35 days back and 5 minutes ahead."""

    event_name: str
    customer: str
    value: int
    identifier: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class PaymentAttempt:
    """One charge: `status` is `succeeded`, `pending` or `failed`. `failure_message` is written for the cardholder."""

    id: str
    status: str
    amount_minor: int
    currency: str
    created_at: datetime
    failure_code: str
    decline_reason: str
    failure_message: str
    method: str
    brand: str
    last4: str


@dataclass(frozen=True, slots=True, kw_only=True)
class InvoicePayment:
    """A payment of an invoice: `status` is `open`, `paid` or `canceled`; `attempts` are its charges, oldest first.

    `amount_paid_minor` is 0 and `paid_at` None until it is paid.
    """

    id: str
    status: str
    amount_paid_minor: int
    currency: str
    paid_at: datetime | None
    attempts: tuple[PaymentAttempt, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class MeterEventSummary:
    """What a meter holds for one customer in `[start_at, end_at)`."""

    value: int
    start_at: datetime
    end_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class TestClock:
    """`status` is `ready`, `advancing` or `internal_failure`."""

    __test__ = False

    id: str
    name: str
    status: str
    frozen_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookEndpoint:
    """`secret` is only known at creation."""

    id: str
    url: str
    status: str
    enabled_events: tuple[str, ...]
    secret: str | None
