"""From tax rates to the stored PDF: taxes in a price and on top of another. The real SDK against the sandbox."""

from __future__ import annotations

import io
from datetime import datetime, timedelta

import pytest
from django.urls import reverse
from facturx import get_xml_from_pdf
from lxml import etree

from billing_worker import gateway
from billing_worker.accounts.models import Account, TestClock
from billing_worker.catalog.models import CatalogProduct
from billing_worker.core.periods import Period
from billing_worker.dashboard import build_billed_card
from billing_worker.gateway.transport import call
from billing_worker.mirror.models import StripeInvoice
from billing_worker.webhooks.services import backfill_events
from billing_worker.webhooks.tasks import drain_inbox
from invoices.exports.month_end import iter_rows
from invoices.models import InvoiceDocument
from invoices.storage import read_pdf
from invoices.tasks import render_document
from invoices.truth import read_text
from reconciliation.ledgers import read_stripe_ledger
from tests.factories import AccountFactory, BillingLeaseFactory, ClockFactory
from tests.invoices.einvoice.test_xml import read

pytestmark = [pytest.mark.django_db]
OCTOBER, NOVEMBER = Period(2026, 10), Period(2026, 11)


@pytest.fixture
def account(sandbox_server, settings) -> Account:
    """A French subscriber since 1 October to €119.99 a month, 20 % VAT in it; invoices are Factur-X. On a test clock.

    A book of €49.99 waits for the invoice of November, with 5.5 % on top.
    """
    sandbox_server.reset()
    settings.ENV = settings.ENV.model_copy(
        update={"STRIPE_API_BASE": sandbox_server.url, "SHADOW": False, "STRIPE_TIMEOUT_SECONDS": 2}
    )
    product = gateway.create_product(name="Flat fee", metadata={"kind": "sub"}, idempotency_key="product")
    CatalogProduct.objects.create(kind="sub", name="Flat fee", stripe_product_id=product.id)
    price = {
        "currency": "eur",
        "product": product.id,
        "recurring": {"interval": "month"},
        "tax_behavior": "inclusive",
        "unit_amount": 11999,
    }
    price_id = call("post", "/v1/prices", price)["id"]
    clock = gateway.create_test_clock(frozen_at=OCTOBER.start_at, name="October")
    customer = gateway.create_customer(
        name="Belle Étoile", email="a@example.com", address=None, metadata={}, test_clock=clock.id,
        idempotency_key="customer",
    )  # fmt: skip
    local = ClockFactory.create(stripe_test_clock_id=clock.id, frozen_at=OCTOBER.start_at)
    account = AccountFactory.create(
        id=5001, test_clock=local, stripe_customer_id=customer.id, currency="eur", address_country="FR",
        locale="fr_FR", invoice_format="facturx",
    )  # fmt: skip
    for period in (OCTOBER, NOVEMBER):
        BillingLeaseFactory.create(account=account, period=str(period))
    within, on_top = (
        call("post", "/v1/tax_rates", {"display_name": "TVA", "percentage": percent, "inclusive": inclusive})
        for percent, inclusive in ((20, True), (5.5, False))
    )
    subscription = {
        "customer": customer.id,
        "items": [{"price": price_id}],
        "collection_method": "send_invoice",
        "days_until_due": 30,
        "default_tax_rates": [within["id"]],
    }
    call("post", "/v1/subscriptions", subscription)
    book = {
        "customer": customer.id,
        "amount": 4999,
        "currency": "eur",
        "description": "Un livre",
        "tax_rates": [on_top["id"]],
        "metadata": {"kind": "managed", "account_id": "5001"},
    }
    call("post", "/v1/invoiceitems", book)
    return account


def advance(account: Account, to: datetime) -> None:
    clock = TestClock.objects.get(accounts=account)
    gateway.advance_test_clock(clock.stripe_test_clock_id, to=to)
    assert gateway.get_test_clock(clock.stripe_test_clock_id).status == "ready"
    TestClock.objects.update(frozen_at=to)
    take_webhooks()


def take_webhooks() -> None:
    backfill_events(since=OCTOBER.start_at, now=OCTOBER.start_at + timedelta(days=1))
    drain_inbox(seconds=60)
    for document in InvoiceDocument.objects.filter(state="pending").order_by("pk"):
        render_document(document.pk)


def open_pdf(document: InvoiceDocument) -> tuple[str, etree._Element]:
    """Its text with plain blanks, and its XML."""
    body = read_pdf(name=document.storage_name, sha256=document.pdf_sha256)
    _, xml = get_xml_from_pdf(io.BytesIO(body))
    return " ".join(read_text(body).split()), xml


def test_from_the_rates_to_the_stored_pdf(account, read_mails, admin_client):
    advance(account, OCTOBER.end_at + timedelta(hours=2))

    # 119.99 hold 20.00 of tax; 2.75 come on top of 49.99.
    invoice = StripeInvoice.objects.get(billing_reason="subscription_cycle")
    assert (invoice.subtotal_minor, invoice.total_minor) == (16998, 17273)
    assert (invoice.total_tax_minor, invoice.inclusive_tax_minor) == (2275, 2000)
    assert invoice.total_excluding_tax_minor == 14998
    document = InvoiceDocument.objects.get(invoice=invoice)
    assert (document.state, document.blocked_reason) == ("stored", "")
    text, xml = open_pdf(document)
    for told in (
        "Sous-total 169,98 €",
        "TVA 5,5 % sur 49,99 € 2,75 €",
        "Total 172,73 €",
        "Dont TVA 20 % sur 99,99 € 20,00 €",
        "Total 149,98 € 22,75 € 172,73 €",
    ):
        assert told in text
    assert read(xml, "ram:LineTotalAmount")[-1:] == ["149.98"]
    assert read(xml, "ram:TaxTotalAmount") == ["22.75"]
    assert read(xml, "ram:GrandTotalAmount") == ["172.73"]
    page = admin_client.get(reverse("admin:invoices_invoicedocument_change", args=[document.pk]))
    assert "before discounts and taxes on top" in page.content.decode()
    assert dict(page.context["facts"])["Tax in its prices"] == "20.00 EUR"
    mail = read_mails()[-1].get_body(("plain",)).get_content()
    assert "Dont TVA: 20,00" in mail.replace("\xa0", " ")

    # Reconciliation has October's and November's fee as legacy would: without the tax.
    ledger = read_stripe_ledger(period=NOVEMBER, payer_ids=[5001])[5001, "eur"]
    assert [(line.kind, line.amount_minor) for line in ledger.lines] == [("sub", 9999)]
    card = build_billed_card(NOVEMBER)
    assert (card.amounts, card.detail) == (("99.99 EUR",), "service of 1 payers, before tax")
    row = next(row for row in iter_rows(OCTOBER, cohorts={}) if row.total_minor == 17273)
    assert (row.net_minor, row.tax_minor, row.unexplained_minor) == (14998, 2275, 0)

    # Half of the fee goes back, with half of the tax in it.
    fee = next(
        line for line in gateway.get_invoice(invoice.stripe_invoice_id).lines if line.inclusive_tax_minor
    )
    gateway.create_credit_note(
        invoice=invoice.stripe_invoice_id,
        lines=[gateway.CreditNoteLineSpec(invoice_line=fee.id, amount_minor=6000)],
        memo="Un mois sans service", metadata={}, credit_to_balance_minor=0, idempotency_key="note",
    )  # fmt: skip
    take_webhooks()
    note = InvoiceDocument.objects.get(invoice=invoice, kind="credit_note")
    assert (note.state, note.total_minor) == ("stored", 6000)
    text, xml = open_pdf(note)
    assert "Dont TVA 20 % sur 50,00 € 10,00 €" in text
    assert read(xml, "ram:TaxBasisTotalAmount") == ["50.00"]
