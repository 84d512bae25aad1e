"""What EN 16931 knows of an invoice, in its own terms: BT numbers name the fields as the standard does.

Amounts are `Decimal` major units with the currency's places (never more than two), prices exact, days UTC days.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from invoices.content import BankAccount, Party
from invoices.taxes import Category


@dataclass(frozen=True, slots=True, kw_only=True)
class ELine:
    """BG-25. `net` (BT-131) is `quantity * price / base`, rounded once, before discounts."""

    number: int  # BT-126
    name: str  # BT-153
    note: str  # BT-127
    quantity: Decimal  # BT-129
    price: Decimal  # BT-146, for `base` units
    base: int  # BT-149
    net: Decimal  # BT-131
    category: Category  # BT-151
    rate: Decimal | None  # BT-152
    start: date  # BT-134
    end: date  # BT-135, inclusive


@dataclass(frozen=True, slots=True, kw_only=True)
class ETax:
    """BG-23: the breakdown of one category and rate."""

    category: Category  # BT-118
    rate: Decimal | None  # BT-119
    basis: Decimal  # BT-116
    amount: Decimal  # BT-117
    allowance: Decimal  # BG-20 of this category, BT-92
    reason: str  # BT-120
    reason_code: str  # BT-121
    line_count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EInvoice:
    """BG-0. Totals are Stripe's own; `checking.find_violations` holds them against the lines."""

    number: str  # BT-1
    issued: date  # BT-2
    type_code: str  # BT-3: 380 invoice, 381 credit note
    currency: str  # BT-5
    notes: tuple[str, ...]  # BT-22
    seller: Party  # BG-4
    buyer: Party  # BG-7
    buyer_number: str  # BT-46: our account
    start: date  # BT-73
    end: date  # BT-74, inclusive
    lines: tuple[ELine, ...]
    taxes: tuple[ETax, ...]
    allowance_reason: str  # BT-97
    means_code: str  # BT-81
    means_text: str  # BT-82
    bank: BankAccount | None  # BG-17
    terms: str  # BT-20
    due: date | None  # BT-9
    line_total: Decimal  # BT-106
    allowance_total: Decimal  # BT-107
    basis_total: Decimal  # BT-109
    tax_total: Decimal  # BT-110
    grand_total: Decimal  # BT-112
    prepaid: Decimal  # BT-113: what was paid before, and a balance that was applied
    due_total: Decimal  # BT-115
    preceding: tuple[str, date | None] | None = None  # BG-3: number and day
