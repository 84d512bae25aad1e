"""From the mirrored Stripe invoice to our content. Reads the database, calls nobody."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

from babel import Locale
from django.db.models import Sum

from billing_worker.accounts.locales import choose_locale
from billing_worker.accounts.models import Account
from billing_worker.accounts.selectors import get_fee_terms
from billing_worker.core.errors import BillingError
from billing_worker.core.periods import Period
from billing_worker.core.rating import LineKind
from billing_worker.mirror.models import StripeCreditNote, StripeInvoice, StripeInvoiceLine
from billing_worker.mirror.selectors import list_credit_notes_of
from invoices.brand import get_brand
from invoices.content import (
    ContentLine,
    InvoiceContent,
    InvoiceFormat,
    LineTax,
    Party,
    PostalAddress,
    clean_text,
)
from invoices.daily_usage import find_daily_usage
from invoices.locales import choose_page_size


class InvoiceIncomplete(BillingError):
    """Not every line of the invoice is mirrored yet. Nothing is wrong: the sweeper looks again."""

    code = "invoice_incomplete"


def build_content(invoice: StripeInvoice) -> InvoiceContent:
    """What we print for a finalized invoice of ours, as the mirror has it now.

    Raises:
        InvoiceIncomplete: lines are still missing, or the invoice has no number because it is a draft.
    """
    account = invoice.account
    if not invoice.lines_complete or not invoice.number or account is None:
        raise InvoiceIncomplete(f"{invoice.stripe_invoice_id} is not complete here yet")
    lines = list(invoice.lines.all())
    accounts = _load_accounts(lines, payer=account)
    plans = _find_plan_names(lines, accounts)
    return InvoiceContent(
        **build_frame(account, invoice),
        document_kind="invoice",
        number=invoice.number,
        status=invoice.status,
        currency=invoice.currency,
        issued_at=invoice.finalized_at or invoice.created_at,
        due_at=invoice.due_at,
        paid_at=invoice.paid_at,
        voided_at=invoice.voided_at,
        subtotal_minor=invoice.subtotal_minor,
        total_discount_minor=invoice.total_discount_minor,
        total_tax_minor=invoice.total_tax_minor,
        total_minor=invoice.total_minor,
        starting_balance_minor=invoice.starting_balance_minor,
        amount_due_minor=invoice.amount_due_minor,
        amount_paid_minor=invoice.amount_paid_minor,
        amount_remaining_minor=invoice.amount_remaining_minor,
        hosted_invoice_url=_keep_link(invoice.hosted_invoice_url),
        lines=tuple(_build_line(line, plans, accounts) for line in lines),
        **build_tax_sums(invoice),
        credited_minor=_sum_credit_notes(invoice),
        daily_usage=find_daily_usage(invoice, lines),
    )


def _sum_credit_notes(invoice: StripeInvoice) -> int:
    """What credit notes took off what was still due; one for what was paid changes nothing on the invoice."""
    if invoice.amount_due_minor >= invoice.total_minor:
        return 0
    notes = list_credit_notes_of(invoice.stripe_invoice_id).filter(status="issued")
    return notes.aggregate(total=Sum("pre_payment_minor"))["total"] or 0


def build_tax_sums(source: StripeInvoice | StripeCreditNote) -> dict[str, Any]:
    """What a document says of taxes in its prices; nothing where there are none."""
    if not source.inclusive_tax_minor:
        return {}
    return {
        "inclusive_tax_minor": source.inclusive_tax_minor,
        "total_excluding_tax_minor": source.total_excluding_tax_minor,
    }


def build_frame(account: Account, invoice: StripeInvoice) -> dict[str, Any]:
    """What every document about an invoice shares: who writes to whom, in which language, on which paper."""
    locale = choose_locale(account.address_country, account.locale)
    return {
        "stripe_invoice_id": invoice.stripe_invoice_id,
        "account_id": account.pk,
        "seller": _build_seller(),
        "buyer": _build_buyer(account, invoice, locale),
        "period_start": invoice.period_start,
        "period_end": invoice.period_end,
        "collection_method": invoice.collection_method,
        "locale": locale,
        "page_size": choose_page_size(account.address_country),
        "tax_exempt": invoice.customer_tax_exempt,
        "bank": get_brand().bank,
        "invoice_format": cast("InvoiceFormat", account.invoice_format),
    }


def _load_accounts(lines: Sequence[StripeInvoiceLine], *, payer: Account) -> dict[int, Account]:
    """The accounts whose lines these are, by key: mostly the payer's alone."""
    others = {line.account_id for line in lines if line.account_id} - {payer.pk}
    return {payer.pk: payer, **(Account.objects.in_bulk(others) if others else {})}


def _build_line(
    line: StripeInvoiceLine, plans: Mapping[int, str], accounts: Mapping[int, Account]
) -> ContentLine:
    description = clean_text(line.description)
    if line.kind == "sub" and not line.is_proration:
        # Stripe writes "1 x Flat fee (at $499.00 / month)": quantity and price have columns of their own here.
        description = plans.get(line.pk, "")
    return ContentLine(
        id=line.stripe_line_id,
        kind=cast("LineKind", line.kind),
        account_id=line.account_id,
        account_name=clean_text(accounts[line.account_id].name) if line.account_id else "",
        description=description,
        quantity=line.quantity,
        unit_amount_decimal=line.unit_amount_decimal,
        amount_minor=line.amount_minor,
        discount_minor=line.discount_minor,
        tax_minor=line.tax_minor,
        period_start=line.period_start,
        period_end=line.period_end,
        is_proration=line.is_proration,
        taxes=tuple(LineTax.model_validate(tax) for tax in line.taxes),
    )


def _find_plan_names(lines: Sequence[StripeInvoiceLine], accounts: Mapping[int, Account]) -> dict[int, str]:
    """Plan names of flat fees, by line. A line that bills several accounts at one price names no plan."""
    names: dict[int, str] = {}
    fees = [line for line in lines if line.kind == "sub" and line.quantity == 1 and line.account_id]
    for period in {Period.of(line.period_start) for line in fees}:
        of_period = [line for line in fees if Period.of(line.period_start) == period]
        terms = get_fee_terms(
            period, accounts=[accounts[line.account_id] for line in of_period if line.account_id]
        )
        for line in of_period:
            found = terms.get(line.account_id or 0)
            if found and found.plan_name and found.flat_unit_amount_decimal == line.unit_amount_decimal:
                names[line.pk] = clean_text(found.plan_name)
    return names


def _build_seller() -> Party:
    brand = get_brand()
    return Party(
        name=clean_text(brand.name),
        address=brand.address,
        country=brand.country,
        email=brand.email,
        tax_ids=brand.tax_ids,
        postal=brand.postal,
        vat_id=brand.vat_id,
        tax_number=brand.tax_number,
        legal_id=brand.legal_id,
    )


def _build_buyer(account: Account, invoice: StripeInvoice, locale: str) -> Party:
    """The invoice as finalized: what Stripe copied onto it then, whatever account and customer have become since.

    Name and address are the account's where Stripe had none, and all of it is on invoices mirrored before it was kept.
    """
    details: Mapping[str, Any] | None = invoice.customer_details
    copied = details or {}
    tax_ids = [(tax_id["type"], clean_text(tax_id["value"], limit=40)) for tax_id in invoice.customer_tax_ids]
    if details is None and not tax_ids and account.tax_id_value:
        tax_ids = [(account.tax_id_type, clean_text(account.tax_id_value, limit=40))]
    postal, country = _choose_address(account, copied.get("address"))
    return Party(
        name=clean_text(copied.get("name") or account.name) or str(account.pk),
        address=_format_address(postal, country, locale),
        country=country,
        email=clean_text(account.billing_email if details is None else copied["email"]),
        tax_ids=tuple(value for _, value in tax_ids),
        postal=PostalAddress(
            line1=clean_text(postal.line1),
            line2=clean_text(postal.line2),
            city=clean_text(postal.city),
            region=clean_text(postal.region),
            postal_code=clean_text(postal.postal_code),
        ),
        vat_id=next((value for kind, value in tax_ids if kind in VAT_KINDS), ""),
    )


def _choose_address(account: Account, copied: Mapping[str, str] | None) -> tuple[PostalAddress, str]:
    """The address that Stripe copied, as a whole, or else the account's; and its country."""
    if copied:
        postal = PostalAddress(
            line1=copied["line1"],
            line2=copied["line2"],
            city=copied["city"],
            region=copied["state"],
            postal_code=copied["postal_code"],
        )
        return postal, clean_text(copied["country"], limit=60)
    postal = PostalAddress(
        line1=account.address_line1,
        line2=account.address_line2,
        city=account.address_city,
        region=account.address_state,
        postal_code=account.address_postal_code,
    )
    return postal, account.address_country


#: Stripe's kinds of tax ids that are VAT numbers and begin with their country, as EN 16931 asks for.
VAT_KINDS: Final = frozenset("eu_vat gb_vat ch_vat".split())
#: Countries that write the postal code behind the city; the others here write it in front.
_CODE_LAST = frozenset("US CA GB IE AU NZ".split())


def _format_address(postal: PostalAddress, country: str, locale: str) -> tuple[str, ...]:
    country = country.upper()
    if country in _CODE_LAST:
        region = " ".join(part for part in (postal.region, postal.postal_code) if part)
        place = ", ".join(part for part in (postal.city, region) if part)
    else:
        place = " ".join(part for part in (postal.postal_code, postal.city) if part)
        place = ", ".join(part for part in (place, postal.region) if part)
    name = Locale.parse(locale).territories.get(country, country)
    lines = (postal.line1, postal.line2, place, name)
    return tuple(cleaned for cleaned in (clean_text(line) for line in lines) if cleaned)


def _keep_link(url: str) -> str:
    """Only web addresses become links: what a document links to, a customer will click."""
    return url if url.startswith(("https://", "http://127.0.0.1", "http://localhost")) else ""
