"""The lines of sample documents, with the taxes and discounts that Stripe would tell of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import zip_longest
from typing import Any

from billing_worker.core.money import round_half_up
from invoices.content import ContentLine, LineTax

OCTOBER = datetime(2026, 10, 1, tzinfo=UTC)
NOVEMBER = datetime(2026, 11, 1, tzinfo=UTC)
DECEMBER = datetime(2026, 12, 1, tzinfo=UTC)


def build_line(kind: str, amount_minor: int | None = None, **changes: Any) -> ContentLine:
    """A line of account 1042; the amount is quantity times unit price unless it is given."""
    in_arrears = kind in ("ST", "RM", "CV")
    values: dict[str, Any] = {
        "id": f"il_{kind}",
        "kind": kind,
        "account_id": 1042,
        "account_name": "Northwind Advertising LLC",
        "description": {"sub": "Growth plan", "managed": "Campaign set-up"}.get(kind, f"{kind} impressions"),
        "quantity": 1,
        "unit_amount_decimal": None,
        "discount_minor": 0,
        "tax_minor": 0,
        "period_start": OCTOBER if in_arrears else NOVEMBER,
        "period_end": NOVEMBER if in_arrears else DECEMBER,
        "is_proration": False,
        **changes,
    }
    if amount_minor is None:
        amount_minor = round_half_up(values["quantity"] * values["unit_amount_decimal"])
    return ContentLine(**values, amount_minor=amount_minor)


def build_tiers(kind: str, *tiers: tuple[int, str], **changes: Any) -> list[ContentLine]:
    """One line per tier: units in it and minor units per impression."""
    return [
        build_line(
            kind, id=f"il_{kind}{index}", quantity=units, unit_amount_decimal=Decimal(price), **changes
        )
        for index, (units, price) in enumerate(tiers)
    ]


def build_job(title: str, amount_minor: int, day: int, *, number: int = 0) -> ContentLine:
    moment = OCTOBER + timedelta(days=day - 1, hours=15)
    return build_line(
        "managed",
        amount_minor,
        id=f"il_job{day}_{number}",
        description=title,
        unit_amount_decimal=Decimal(amount_minor),
        period_start=moment,
        period_end=moment,
    )


def charge_lines(
    lines: list[ContentLine], *, percent: Decimal, discounts: list[int] | None = None
) -> list[ContentLine]:
    """The lines with a discount each (none where the list ends) and tax on what it leaves."""
    charged = []
    for line, discount in zip_longest(lines, discounts or [], fillvalue=0):
        assert isinstance(line, ContentLine)
        assert isinstance(discount, int)
        taxable = line.amount_minor - discount
        tax = round_half_up(taxable * percent / 100)
        told = LineTax(amount_minor=tax, taxable_minor=taxable, percentage=percent, reason="standard_rated")
        changes = {"discount_minor": discount, "tax_minor": tax, "taxes": (told,)}
        charged.append(line.model_copy(update=changes))
    return charged


def include_taxes(
    lines: list[ContentLine], *, percent: Decimal, discounts: list[int] | None = None, is_told: bool = True
) -> list[ContentLine]:
    """Like `charge_lines` with the tax inside the amounts, to the cent as Stripe does. `is_told`: its percentage is."""
    charged = []
    for line, discount in zip_longest(lines, discounts or [], fillvalue=0):
        assert isinstance(line, ContentLine)
        assert isinstance(discount, int)
        gross = line.amount_minor - discount
        tax = round_half_up(gross * percent / (100 + percent))
        told = LineTax(
            amount_minor=tax,
            taxable_minor=gross - tax,
            percentage=percent if is_told else None,
            reason="not_available",
            inclusive=True,
            rate=f"txr_in_{percent}",
        )
        charged.append(
            line.model_copy(update={"discount_minor": discount, "tax_minor": tax, "taxes": (told,)})
        )
    return charged
