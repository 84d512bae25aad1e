"""Credit notes: what is taken back from a finalized invoice, before it was paid or after. Amounts in minor units."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from sandbox.billing.invoicing import invoice_lines
from sandbox.billing.money import decimal_text, round_half_up
from sandbox.billing.totals import TaxRate, apply_taxes, sum_up
from sandbox.engine.context import Context
from sandbox.engine.errors import JsonObject, StripeError, invalid

CREDITABLE = ("open", "paid", "uncollectible")


@dataclass(frozen=True, slots=True)
class Split:
    """How a credit note's total is given back; what reduces the amount still due comes first."""

    pre_payment: int
    credit: int
    refund: int
    out_of_band: int

    @property
    def post_payment(self) -> int:
        """The part that was paid already."""
        return self.credit + self.refund + self.out_of_band


def credit_note_lines(ctx: Context, invoice: JsonObject, params: dict[str, Any]) -> list[JsonObject]:
    """The lines that a request asks for, not yet stored; with only an `amount`, one line without an invoice line.

    Raises:
        StripeError: 400, a line is unknown, or more of it is credited than it holds.
    """
    if not params.get("lines"):
        amount = params.get("amount")
        if amount is None:
            message = "You must provide either `lines` or `amount`."
            raise invalid("amount", message, "parameter_missing")
        if amount <= 0:
            raise invalid("amount", "Invalid positive integer", "parameter_invalid_integer")
        return [_line(ctx, amount=amount, quantity=1)]
    known = {line["id"]: line for line in invoice_lines(ctx, invoice["id"])}
    return [_requested(ctx, known, given, f"lines[{n}]") for n, given in enumerate(params["lines"])]


def _requested(ctx: Context, known: dict[str, JsonObject], given: dict[str, Any], param: str) -> JsonObject:
    if given.get("tax_amounts"):
        raise invalid(f"{param}[tax_amounts]", "The sandbox does not cover `tax_amounts`.")
    if given["type"] == "custom_line_item":
        return _custom_line(ctx, given)
    line = known.get(given.get("invoice_line_item", ""))
    if line is None:
        raise invalid(
            f"{param}[invoice_line_item]",
            f"No such invoice line item: '{given.get('invoice_line_item')}'",
            "resource_missing",
        )
    quantity = given.get("quantity")
    if "amount" in given:
        amount = given["amount"]
    elif quantity is None or not line["quantity"]:
        amount = line["amount"]
    else:
        amount = round_half_up(Decimal(line["amount"]) * quantity / line["quantity"])
    if amount > line["amount"]:
        raise invalid(f"{param}[amount]", "A line can't be credited with more than its amount.")
    credited = _line(
        ctx,
        amount=amount,
        invoice_line=line["id"],
        quantity=quantity or line["quantity"],
        description=given.get("description", line["description"]),
        metadata=given.get("metadata"),
    )
    _take_back_shares(credited, line)
    return credited


def _custom_line(ctx: Context, given: dict[str, Any]) -> JsonObject:
    unit = Decimal(str(given.get("unit_amount_decimal") or given.get("unit_amount") or 0))
    quantity = given.get("quantity", 1)
    line = _line(
        ctx,
        amount=given["amount"] if "amount" in given else round_half_up(unit * quantity),
        quantity=quantity,
        unit=unit,
        description=given.get("description"),
        metadata=given.get("metadata"),
    )
    rates = [ctx.require("tax_rate", rate, "tax_rates") for rate in given.get("tax_rates") or ()]
    line["tax_rates"] = rates
    apply_taxes(
        [line], [[TaxRate(rate["id"], Decimal(str(rate["percentage"])), rate["inclusive"]) for rate in rates]]
    )
    return line


def _take_back_shares(credited: JsonObject, line: JsonObject) -> None:
    """Discounts and taxes of an invoice line in proportion to what is credited of it, rounded half up each."""
    share = Decimal(credited["amount"]) / line["amount"] if line["amount"] else Decimal(0)
    credited["discount_amounts"] = [
        {**entry, "amount": round_half_up(entry["amount"] * share)} for entry in line["discount_amounts"]
    ]
    credited["discount_amount"] = sum(entry["amount"] for entry in credited["discount_amounts"])
    credited["taxes"] = [
        {
            **tax,
            "amount": round_half_up(tax["amount"] * share),
            "taxable_amount": round_half_up(tax["taxable_amount"] * share),
        }
        for tax in line["taxes"]
    ]


def credit_sums(lines: list[JsonObject]) -> dict[str, Any]:
    """The credit note's sums in minor units, from lines that carry their discounts and taxes."""
    discounts: dict[str, JsonObject] = {}
    taxes: dict[str, JsonObject] = {}
    for line in lines:
        for entry in line["discount_amounts"]:
            found = discounts.setdefault(entry["discount"], {**entry, "amount": 0})
            found["amount"] += entry["amount"]
        for tax in line["taxes"]:
            found = taxes.setdefault(
                tax["tax_rate_details"]["tax_rate"], {**tax, "amount": 0, "taxable_amount": 0}
            )
            found["amount"] += tax["amount"]
            found["taxable_amount"] += tax["taxable_amount"]
    sums = sum_up(lines, list(discounts.values()), list(taxes.values()))
    return {
        **{name: sums[name] for name in ("subtotal", "subtotal_excluding_tax", "total", "total_taxes")},
        "total_excluding_tax": sums["total_excluding_tax"],
        "discount_amount": sum(entry["amount"] for entry in discounts.values()),
        "discount_amounts": list(discounts.values()),
    }


def _line(
    ctx: Context,
    *,
    amount: int,
    quantity: int | None,
    invoice_line: str | None = None,
    unit: Decimal | None = None,
    description: str | None = None,
    metadata: dict[str, str] | None = None,
) -> JsonObject:
    return {
        "id": ctx.store.new_id("cnli"),
        "object": "credit_note_line_item",
        "amount": amount,
        "description": description,
        "discount_amount": 0,
        "discount_amounts": [],
        "invoice_line_item": invoice_line,
        "livemode": False,
        "metadata": dict(metadata or {}),
        "pretax_credit_amounts": [],
        "quantity": quantity,
        "tax_rates": [],
        "taxes": [],
        "type": "invoice_line_item" if invoice_line else "custom_line_item",
        "unit_amount": int(unit) if unit is not None and unit == int(unit) else None,
        "unit_amount_decimal": None if unit is None else decimal_text(unit),
    }


def split_credit(ctx: Context, invoice: JsonObject, total: int, params: dict[str, Any]) -> Split:
    """Decide how a total is given back: what is still due is reduced first; the rest as the request says.

    Raises:
        StripeError: 400; the invoice isn't finalized, holds less than the total, or the parts don't add up.
    """
    if invoice["status"] not in CREDITABLE:
        raise StripeError(
            400,
            f"You can only create credit notes for invoices with the status open, paid or uncollectible; this invoice "
            f"is {invoice['status']}.",
            param="invoice",
        )
    already = invoice["pre_payment_credit_notes_amount"] + invoice["post_payment_credit_notes_amount"]
    if total > invoice["total"] - already:
        raise invalid(
            "amount",
            f"The credit note's amount ({total}) is greater than what is left of the invoice "
            f"({invoice['total'] - already}).",
        )
    pre_payment = min(total, invoice["amount_remaining"]) if invoice["status"] != "paid" else 0
    parts = [params.get(name, 0) for name in ("credit_amount", "refund_amount", "out_of_band_amount")]
    refunded = sum(entry.get("amount_refunded", 0) for entry in params.get("refunds", []))
    if sum(parts) + refunded != total - pre_payment:
        raise StripeError(
            400,
            "The sum of credit amount, refund amount and out of band amount "
            f"({sum(parts) + refunded}) must equal the credit note's amount that was paid already "
            f"({total - pre_payment}).",
        )
    return Split(pre_payment, parts[0], parts[1] + refunded, parts[2])


def new_credit_note(
    ctx: Context, invoice: JsonObject, lines: list[JsonObject], split: Split, params: dict[str, Any], at: int
) -> JsonObject:
    """The credit note itself, not yet stored and without effect."""
    total = split.pre_payment + split.post_payment
    kinds = {(True, False): "pre_payment", (False, True): "post_payment", (True, True): "mixed"}
    note_id = ctx.store.new_id("cn")
    count = len(ctx.store.find("credit_note", "invoice", invoice["id"]))
    return {
        "id": note_id,
        "object": "credit_note",
        "amount": total,
        "amount_shipping": 0,
        "created": at,
        "currency": invoice["currency"],
        "customer": invoice["customer"],
        "customer_balance_transaction": None,
        "effective_at": params.get("effective_at", at),
        "invoice": invoice["id"],
        "lines": {
            "object": "list",
            "data": lines[:10],
            "has_more": len(lines) > 10,
            "url": f"/v1/credit_notes/{note_id}/lines",
        },
        "livemode": False,
        "memo": params.get("memo"),
        "metadata": dict(params.get("metadata") or {}),
        "number": f"{invoice['number']}-CN-{count + 1:02d}",
        "out_of_band_amount": params.get("out_of_band_amount"),
        "pdf": f"https://pay.stripe.com/credit_notes/acct_sandbox/{note_id}/pdf?s=ap",
        "post_payment_amount": split.post_payment,
        "pre_payment_amount": split.pre_payment,
        "pretax_credit_amounts": [],
        "reason": params.get("reason"),
        "refunds": [],
        "shipping_cost": None,
        "status": "issued",
        **credit_sums(lines),
        "type": kinds.get((split.pre_payment > 0, split.post_payment > 0), "pre_payment"),
        "voided_at": None,
    }
