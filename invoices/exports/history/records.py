"""An old invoice as one line of JSON, the same bytes for the same row, and what a month of them adds up to."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.db.models import DecimalField, Model

from billing_worker.core.periods import to_utc
from billing_worker.legacy.selectors import LegacyBill

Record = dict[str, Any]
_SUMMED = ("subtotal", "tax", "total")


def build_record(bill: LegacyBill) -> Record:
    """Every column of the invoice, and `lines` with every column of each; by the columns' order.

    Amounts are texts with the places of their column, times are ISO 8601 in UTC.
    """
    record = _encode_row(bill.invoice)
    record["lines"] = [_encode_row(line) for line in bill.lines]
    return record


def format_record(record: Record) -> bytes:
    """One line with its end."""
    return json.dumps(record, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


@dataclass(slots=True)
class Tally:
    """Counts, and sums by currency: of the invoices' own amounts, and of their lines."""

    invoices: int = 0
    lines: int = 0
    without_pdf: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    sums: dict[str, dict[str, Decimal]] = field(default_factory=dict)

    def add(self, record: Record) -> None:
        self.invoices += 1
        self.lines += len(record["lines"])
        self.without_pdf += not record["pdf_url"]
        self.statuses[record["status"]] += 1
        sums = self.sums.setdefault(record["currency"], dict.fromkeys((*_SUMMED, "lines"), Decimal("0.00")))
        for name in _SUMMED:
            sums[name] += Decimal(record[name] or 0)
        sums["lines"] += sum((Decimal(line["amount"] or 0) for line in record["lines"]), Decimal(0))

    def describe(self) -> dict[str, Any]:
        """For the manifest: sorted, amounts as texts."""
        return {
            "invoices": self.invoices,
            "lines": self.lines,
            "without_pdf": self.without_pdf,
            "statuses": dict(sorted(self.statuses.items())),
            "sums": {
                currency: {name: str(amount) for name, amount in sums.items()}
                for currency, sums in sorted(self.sums.items())
            },
        }


def _encode_row(row: Model) -> Record:
    return {
        column.name: _encode(getattr(row, column.attname), column) for column in row._meta.concrete_fields
    }


def _encode(value: object, column: Any) -> object:
    if isinstance(value, Decimal):
        assert isinstance(column, DecimalField)
        return f"{value:.{column.decimal_places}f}"
    if isinstance(value, datetime):
        return to_utc(value).isoformat().replace("+00:00", "Z")
    return value
