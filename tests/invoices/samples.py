"""Documents to print: one per variant that a customer can get. All companies are invented."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

from billing_worker.core.rating import USAGE_TYPES
from invoices.content import (
    BankAccount,
    ContentLine,
    Correction,
    DailyUsage,
    InvoiceContent,
    Party,
    Payment,
    PostalAddress,
    UsageSeries,
)
from tests.invoices.sample_lines import (
    NOVEMBER,
    OCTOBER,
    build_job,
    build_line,
    build_tiers,
    charge_lines,
    include_taxes,
)

SELLER = Party(
    name="Lumenade Media, Inc.",
    address=("480 Harbor Street, Suite 900", "San Francisco, CA 94107", "United States"),
    country="US",
    email="billing@example.com",
    tax_ids=("US EIN 00-0000000",),
    postal=PostalAddress(
        line1="480 Harbor Street, Suite 900", city="San Francisco", region="CA", postal_code="94107"
    ),
    tax_number="00-0000000",
    legal_id="00-0000000",
)
BANK = BankAccount(holder="Lumenade Media, Inc.", number="0000000000", bic="EXAMPUS0")
BUYER = Party(
    name="Northwind Advertising LLC",
    address=("12 Main Street", "Springfield, IL 62701", "United States"),
    country="US",
    email="ap@northwind.example.com",
)


#: How a month runs: weekdays are busier, the middle of the month most of all.
_SHAPE = [
    (60, 100, 104, 98, 96, 90, 55)[(3 + day) % 7] * (31 - abs(day - 17)) + day * day % 37 for day in range(31)
]


def spread(kind: str, units: int) -> UsageSeries:
    """So many units over the days of October, none lost."""
    days = [units * share // sum(_SHAPE) for share in _SHAPE]
    days[17] += units - sum(days)
    return UsageSeries.model_validate({"kind": kind, "units": tuple(days)})


def tell_days(content: InvoiceContent) -> InvoiceContent:
    """The same document with its usage of October by day."""
    kinds = [kind for kind in USAGE_TYPES if any(line.kind == kind for line in content.lines)]
    units = [sum(line.quantity or 0 for line in content.lines if line.kind == kind) for kind in kinds]
    series = tuple(spread(kind, total) for kind, total in zip(kinds, units, strict=True))
    usage = DailyUsage(start_date=OCTOBER.date(), series=series)
    return content.model_copy(update={"daily_usage": usage})


def build_content(lines: list[ContentLine] | None = None, **changes: Any) -> InvoiceContent:
    """An open invoice whose sums come out; anything can be overridden."""
    if lines is None:
        lines = [
            build_line("sub", unit_amount_decimal=Decimal(49900)),
            *build_tiers("ST", (1_000_000, "0"), (4_000_000, "0.125"), (2_345_678, "0.1")),
            *build_tiers("CV", (250_000, "1.8")),
            build_job("Holiday campaign set-up and tagging", 120000, 14),
        ]
    subtotal = sum(line.amount_minor for line in lines)
    tax = changes.setdefault("total_tax_minor", sum(line.tax_minor for line in lines))
    discount = changes.setdefault("total_discount_minor", sum(line.discount_minor for line in lines))
    changes = {**tell_tax_sums(lines, subtotal - discount), **changes}
    total = subtotal + tax - changes.get("inclusive_tax_minor", 0) - discount
    due = changes.get("amount_due_minor", total)
    paid = due if changes.get("status") == "paid" else 0
    values: dict[str, Any] = {
        "document_kind": "invoice",
        "stripe_invoice_id": "in_sample",
        "number": "NWA-0007",
        "status": "open",
        "currency": "usd",
        "account_id": 1042,
        "seller": SELLER,
        "buyer": BUYER,
        "issued_at": NOVEMBER + timedelta(hours=1),
        "due_at": None,
        "paid_at": None,
        "voided_at": None,
        "period_start": OCTOBER,
        "period_end": NOVEMBER,
        "collection_method": "charge_automatically",
        "subtotal_minor": subtotal,
        "total_minor": total,
        "starting_balance_minor": 0,
        "amount_due_minor": due,
        "amount_paid_minor": paid,
        "amount_remaining_minor": due - paid,
        "hosted_invoice_url": "https://invoice.stripe.example.com/i/acct_1Example/live_YWNjdF8xRXhhbXBsZSxfUVhhbXBsZQ0200sample",
        "locale": "en_US",
        "page_size": "Letter",
        "lines": tuple(lines),
        "bank": BANK,
        **changes,
    }
    return InvoiceContent(**values)


def tell_tax_sums(lines: list[ContentLine], gross_minor: int) -> dict[str, Any]:
    """What Stripe says of taxes in prices; `gross_minor` are the lines after discounts."""
    inside = sum(line.inclusive_tax_minor for line in lines)
    if not inside:
        return {}
    return {"inclusive_tax_minor": inside, "total_excluding_tax_minor": gross_minor - inside}


def _paid() -> InvoiceContent:
    return build_content(status="paid", paid_at=NOVEMBER + timedelta(hours=2), number="NWA-0006")


def build_receipt(content: InvoiceContent | None = None, **changes: Any) -> InvoiceContent:
    """The receipt for an invoice that was paid by card at once; `changes` are of the payment."""
    invoice = content or _paid()
    values: dict[str, Any] = {
        "stripe_payment_id": "inpay_sample",
        "invoice_number": invoice.number,
        "invoice_issued_at": invoice.issued_at,
        "invoice_total_minor": invoice.total_minor,
        "amount_minor": invoice.amount_due_minor,
        "paid_before_minor": 0,
        "paid_at": NOVEMBER + timedelta(hours=2),
        "method": "card",
        "brand": "visa",
        "last4": "4242",
        "invoice_tax_minor": invoice.total_tax_minor if invoice.inclusive_tax_minor else 0,
        **changes,
    }
    payment = Payment(**values)
    paid = payment.paid_before_minor + payment.amount_minor
    return invoice.model_copy(
        update={
            "document_kind": "receipt",
            "daily_usage": None,
            "number": f"{invoice.number}-R{2 if payment.paid_before_minor else 1}",
            "status": "paid",
            "issued_at": payment.paid_at,
            "due_at": None,
            "paid_at": payment.paid_at,
            "subtotal_minor": payment.amount_minor,
            "total_discount_minor": 0,
            "total_tax_minor": 0,
            "inclusive_tax_minor": 0,
            "total_excluding_tax_minor": None,
            "total_minor": payment.amount_minor,
            "amount_paid_minor": paid,
            "amount_remaining_minor": invoice.amount_due_minor - paid,
            "hosted_invoice_url": "",
            "lines": (),
            "payment": payment,
        }
    )


def _receipt_german() -> InvoiceContent:
    """The second of three payments, by direct debit, of an invoice with a balance from before."""
    return build_receipt(
        _german_taxed(),
        amount_minor=400000,
        paid_before_minor=500000,
        method="sepa_debit",
        brand="",
        last4="3000",
        paid_at=NOVEMBER + timedelta(days=12),
    )


def _receipt_japanese() -> InvoiceContent:
    return build_receipt(_japanese(), method="customer_balance", brand="", last4="")


def build_credit_note(
    lines: list[ContentLine] | None = None, *, of: InvoiceContent | None = None, **changes: Any
) -> InvoiceContent:
    """A refund of a part of an invoice that was paid; `changes` are of the correction, or `status` and `voided_at`."""
    invoice = of or _paid()
    lines = lines or [
        *build_tiers("ST", (1_000_000, "0.125"), description=""),
        build_job("Holiday campaign set-up and tagging", 40000, 14).model_copy(update={"quantity": None}),
    ]
    status, voided_at = changes.pop("status", "issued"), changes.pop("voided_at", None)
    subtotal = sum(line.amount_minor for line in lines)
    discount, tax = sum(line.discount_minor for line in lines), sum(line.tax_minor for line in lines)
    sums = {"inclusive_tax_minor": 0, "total_excluding_tax_minor": None}
    sums.update(tell_tax_sums(lines, subtotal - discount))
    total = subtotal - discount + tax - (sums["inclusive_tax_minor"] or 0)
    given = {name: value for name, value in changes.items() if name.endswith("_minor")} or {
        "refunded_minor": total
    }
    values: dict[str, Any] = {
        "stripe_credit_note_id": "cn_sample",
        "invoice_number": invoice.number,
        "invoice_issued_at": invoice.issued_at,
        "reason": "order_change",
        "memo": "The tagging was done by your own team",
        **changes,
        **given,
    }
    return invoice.model_copy(
        update={
            "document_kind": "credit_note",
            "daily_usage": None,
            "number": f"{invoice.number}-CN-01",
            "status": status,
            "voided_at": voided_at,
            "issued_at": NOVEMBER + timedelta(days=6),
            "due_at": None,
            "paid_at": None,
            "subtotal_minor": subtotal,
            "total_discount_minor": discount,
            "total_tax_minor": tax,
            **sums,
            "total_minor": total,
            "starting_balance_minor": 0,
            "amount_due_minor": total,
            "amount_paid_minor": total,
            "amount_remaining_minor": 0,
            "hosted_invoice_url": "",
            "lines": tuple(lines),
            "correction": Correction(**values),
        }
    )


def _credit_note_german() -> InvoiceContent:
    """Taxed and discounted like its invoice; a part is deducted from what is due, the rest goes to the balance."""
    lines = charge_lines(
        [
            build_line("sub", 30000, quantity=1, unit_amount_decimal=Decimal(89900), description=""),
            *build_tiers("RM", (200_000, "0.3975"), description=""),
        ],
        percent=Decimal(19),
        discounts=[3000, 0],
    )
    total = sum(line.amount_minor + line.tax_minor - line.discount_minor for line in lines)
    return build_credit_note(
        lines,
        of=_german_taxed(),
        reason="product_unsatisfactory",
        memo="Ausfall der Auslieferung am 12. Oktober",
        deducted_minor=100000,
        balance_minor=total - 100000,
    )


def _credit_note_japanese() -> InvoiceContent:
    lines = [build_line("managed", 60000, description="秋季キャンペーン設定作業", quantity=None)]
    return build_credit_note(lines, of=_japanese(), reason="duplicate", memo="", balance_minor=60000)


def _credit_note_void() -> InvoiceContent:
    invoice = _child().model_copy(update={"locale": "fr_FR", "page_size": "A4", "number": "NWA-0009"})
    lines = [build_line("sub", 19900, account_id=1043, account_name="Northwind Studio", description="")]
    return build_credit_note(
        lines,
        of=invoice,
        memo="",
        deducted_minor=19900,
        status="void",
        voided_at=NOVEMBER + timedelta(days=8),
    )


def _void() -> InvoiceContent:
    return build_content(status="void", voided_at=NOVEMBER + timedelta(days=3), amount_remaining_minor=0)


def _german() -> InvoiceContent:
    buyer = Party(
        name="Grünwald Mediahaus GmbH & Co. KG",
        address=("Prenzlauer Allee 212", "10405 Berlin", "Deutschland"),
        country="DE",
        email="rechnungen@gruenwald.example.com",
        tax_ids=("DE000000000",),
        postal=PostalAddress(line1="Prenzlauer Allee 212", city="Berlin", postal_code="10405"),
        vat_id="DE000000000",
    )
    lines = [
        build_line("sub", unit_amount_decimal=Decimal(89900), description="Scale plan"),
        *build_tiers("ST", (500_000, "0"), (1_500_000, "0.1155"), (8_234_567, "0.0925")),
        *build_tiers("RM", (100_000, "0.45"), (641_230, "0.3975")),
    ]
    return build_content(
        lines,
        currency="eur",
        locale="de_DE",
        page_size="A4",
        buyer=buyer,
        number="GMH-0012",
        collection_method="send_invoice",
        due_at=NOVEMBER + timedelta(days=14),
    )


def _japanese() -> InvoiceContent:
    buyer = Party(
        name="株式会社みなと広告",
        address=("東京都港区南青山一丁目2番3号", "〒107-0062", "日本"),
        country="JP",
        email="keiri@minato.example.com",
    )
    lines = [
        build_line("sub", unit_amount_decimal=Decimal(75000), description="Growth plan"),
        *build_tiers("ST", (1_000_000, "0"), (3_456_789, "0.15")),
        build_line(
            "managed", 180000, description="秋季キャンペーン設定作業", unit_amount_decimal=Decimal(180000)
        ),
    ]
    return build_content(
        lines, currency="jpy", locale="ja_JP", page_size="A4", buyer=buyer, number="MNT-0003"
    )


def _child() -> InvoiceContent:
    lines = [
        build_line("sub", unit_amount_decimal=Decimal(49900)),
        build_line(
            "sub",
            unit_amount_decimal=Decimal(19900),
            account_id=1043,
            account_name="Northwind Studio",
            id="il_child",
        ),
        *build_tiers("ST", (1_000_000, "0"), (250_001, "0.125")),
    ]
    return build_content(charge_lines(lines, percent=Decimal("6.25"), discounts=[5000]))


def _managed() -> InvoiceContent:
    jobs = [
        build_job(f"{title} {number}", 35000 + 1250 * number, 1 + number)
        for number, title in enumerate(
            ["Creative trafficking, week", "Audience segment build", "Tag audit", "Reporting workshop"] * 6
        )
    ]
    return build_content([build_line("sub", unit_amount_decimal=Decimal(250000)), *jobs])


def _twelve_lines() -> InvoiceContent:
    lines = [
        build_line("sub", unit_amount_decimal=Decimal(49900)),
        *build_tiers("ST", (1_000_000, "0"), (4_000_000, "0.125"), (2_345_678, "0.1")),
        *build_tiers("RM", (100_000, "0.45"), (641_230, "0.3975")),
        *build_tiers("CV", (250_000, "1.8")),
        *(build_job(f"Campaign {day}, trafficking", 10000 + day, day) for day in range(1, 6)),
    ]
    return build_content(lines)


def build_long(lines: int = 1500) -> InvoiceContent:
    jobs = [build_job(f"Insertion order {n:05d}", 1000 + n, 1 + n % 28, number=n) for n in range(lines)]
    return build_content(jobs, number="NWA-1500")


def build_full(locale: str, page_size: str) -> InvoiceContent:
    """As much as a page must hold: twelve lines, usage by day, a discount, a tax, and bank details to pay to."""
    other = _japanese() if locale == "ja_JP" else _german()
    return tell_days(
        build_content(
            charge_lines(list(_twelve_lines().lines), percent=Decimal(19), discounts=[8990]),
            locale=locale,
            page_size=page_size,
            currency={"en_US": "usd", "ja_JP": "jpy"}.get(locale, "eur"),
            buyer=other.buyer,
            number="GMH-0015",
            collection_method="send_invoice",
            due_at=NOVEMBER + timedelta(days=14),
        )
    )


def build_family(accounts: int, *, given_back: int = -25_000, **changes: Any) -> InvoiceContent:
    """Fees and tiers of several accounts, a tier and a job that cost nothing, and so many minor units given back."""
    lines = []
    for number in range(accounts):
        who: dict[str, Any] = {"account_id": 2000 + number, "account_name": f"Northwind Studio {number}"}
        lines += [
            build_line("sub", 19900 + number, description=f"Studio plan {number}", id=f"il_{number}", **who),
            *build_tiers("ST", (1_000_100 + number, "0"), (250_100 + number, "0.125"), **who),
            *build_tiers("CV", *((1_000 * tier + number, "1.8") for tier in range(2, 9)), **who),
        ]
    jobs = [build_job(f"Insertion order {n:03d}", 777 + n, 5, number=n) for n in range(40)]
    return build_content(
        [*lines, build_job("Trial set-up", 0, 3), build_job("Make-good for September", given_back, 4), *jobs],
        **{"number": "NWA-0010", **changes},
    )


def _german_taxed() -> InvoiceContent:
    """Everything at once: discount, tax, a balance from before, a part paid, and a transfer for the rest."""
    german = _german()
    lines = charge_lines(list(german.lines), percent=Decimal(19), discounts=[8990, 0, 5000])
    return build_content(
        lines,
        **{
            name: getattr(german, name)
            for name in ("currency", "locale", "page_size", "buyer", "collection_method", "due_at")
        },
        number="GMH-0013",
        starting_balance_minor=-25000,
        amount_due_minor=sum(line.amount_minor + line.tax_minor - line.discount_minor for line in lines)
        - 25000,
        amount_paid_minor=500000,
        amount_remaining_minor=sum(line.amount_minor + line.tax_minor - line.discount_minor for line in lines)
        - 525000,
        invoice_format="facturx",
    )


def _reverse_charge() -> InvoiceContent:
    return _german().model_copy(
        update={"tax_exempt": "reverse", "number": "GMH-0014", "invoice_format": "facturx"}
    )


def _zero() -> InvoiceContent:
    lines = [build_line("sub", 0, quantity=1, unit_amount_decimal=Decimal(0)), *build_tiers("ST", (900, "0"))]
    return build_content(lines, status="paid", paid_at=NOVEMBER + timedelta(hours=1))


def _french() -> InvoiceContent:
    """The price is what the customer pays: 20 % are in it. A coupon took 10 % off the fee."""
    buyer = Party(
        name="Régie Belle Étoile SARL",
        address=("18 rue des Tanneurs", "69002 Lyon", "France"),
        country="FR",
        email="compta@belle-etoile.example.com",
        tax_ids=("FR00000000000",),
        postal=PostalAddress(line1="18 rue des Tanneurs", city="Lyon", postal_code="69002"),
        vat_id="FR00000000000",
    )
    lines = [
        build_line("sub", unit_amount_decimal=Decimal(49999), description="Growth plan"),
        *build_tiers("ST", (1_000_000, "0"), (733_333, "0.1475")),
    ]
    return build_content(
        include_taxes(lines, percent=Decimal(20), discounts=[5000]),
        currency="eur",
        locale="fr_FR",
        page_size="A4",
        buyer=buyer,
        number="RBE-0004",
        invoice_format="facturx",
    )


def _japanese_two_rates() -> InvoiceContent:
    """Both rates of the consumption tax, inside the prices and not told by Stripe: each with its net and its tax."""
    japanese = _japanese()
    fee, *usage, work = japanese.lines
    paper = work.model_copy(
        update={
            "id": "il_paper",
            "description": "業界紙の定期購読",
            "amount_minor": 4321,
            "unit_amount_decimal": Decimal(4321),
        }
    )
    lines = include_taxes([fee, *usage, work], percent=Decimal(10), is_told=False)
    lines += include_taxes([paper], percent=Decimal(8), is_told=False)
    kept = {name: getattr(japanese, name) for name in ("currency", "locale", "page_size", "buyer")}
    return build_content(lines, **kept, number="MNT-0004")


def _mixed() -> InvoiceContent:
    """19 % in the prices of the plan, 7 % on top of a job, and discounts on both: every line bears what it says."""
    german = _german()
    lines = include_taxes(list(german.lines[:4]), percent=Decimal(19), discounts=[8990, 0, 3333])
    job = build_job("Fachbuch, gedruckt", 4999, 9)
    lines += charge_lines([job], percent=Decimal(7), discounts=[500])
    kept = {
        name: getattr(german, name)
        for name in ("currency", "locale", "page_size", "buyer", "collection_method", "due_at")
    }
    return build_content(lines, **kept, number="GMH-0015", invoice_format="facturx")


def _credit_note_french() -> InvoiceContent:
    fee = build_line("sub", 12345, unit_amount_decimal=None, quantity=None, description="")
    lines = include_taxes([fee], percent=Decimal(20), discounts=[1235])
    return build_credit_note(lines, of=_french(), memo="", balance_minor=11110)


#: Variant -> document, in the order of the gallery.
VARIANTS: dict[str, Callable[[], InvoiceContent]] = {
    "open": lambda: tell_days(build_content()),
    "paid": lambda: tell_days(_paid()),
    "void": _void,
    "eur-german": lambda: tell_days(_german()),
    "eur-everything": lambda: tell_days(_german_taxed()),
    "eur-reverse-charge": _reverse_charge,
    "jpy-japanese": lambda: tell_days(_japanese()),
    "twelve-lines": lambda: tell_days(_twelve_lines()),
    "child-accounts": _child,
    "managed-services": _managed,
    "full-french": lambda: build_full("fr_FR", "A4"),
    "full-spanish": lambda: build_full("es_ES", "Letter"),
    "zero": _zero,
    "long": lambda: build_long(120),
    "long-accounts": lambda: build_family(6),
    "credit-note": build_credit_note,
    "credit-note-german": _credit_note_german,
    "credit-note-japanese": _credit_note_japanese,
    "credit-note-void": _credit_note_void,
    "eur-tax-included": _french,
    "jpy-tax-included": _japanese_two_rates,
    "eur-tax-mixed": _mixed,
    "credit-note-tax-included": _credit_note_french,
    "receipt-tax-included": lambda: build_receipt(_french()),
    "receipt": build_receipt,
    "receipt-german": _receipt_german,
    "receipt-japanese": _receipt_japanese,
}
