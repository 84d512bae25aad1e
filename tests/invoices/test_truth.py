"""The truth check: a PDF that does not say what Stripe says is never stored or sent."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from billing_worker.alerts.models import Alert
from invoices.content import InvoiceContent
from invoices.models import InvoiceDocument, InvoiceMail
from invoices.rendering import pdf
from invoices.rendering.pdf import render_pdf
from invoices.services.documents import (
    NothingWouldChange,
    ensure_document,
    render_document,
    request_revision,
)
from invoices.states import DocumentState
from invoices.truth import collect_facts, find_untruths
from tests.invoices.factories import NOW, make_document, make_invoice
from tests.invoices.samples import NOVEMBER, VARIANTS, build_content, build_long

LOCALES = ["en_US", "en_GB", "en_CA", "de_DE", "de_CH", "fr_FR", "es_ES", "es_MX", "ja_JP"]


@pytest.mark.parametrize("version", ["1", "2"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_what_we_print_is_true(variant, version):
    content = VARIANTS[variant]()
    assert find_untruths(content, render_pdf(content, version=version).body) == []


@pytest.mark.parametrize("locale", LOCALES)
def test_it_reads_every_language(locale):
    content = build_transfer(locale=locale)
    body = render_pdf(content).body
    assert len(collect_facts(content)) == 5
    assert find_untruths(content, body) == []
    names = [sentence.partition(":")[0] for sentence in find_untruths(change(content), body)]
    assert names == [
        f"the PDF does not say its {name}"
        for name in ("number", "account", "total", "amount due", "due date")
    ]


def test_it_finds_the_facts_among_a_thousand_lines():
    content = build_long(1000)
    body = render_pdf(content).body
    assert find_untruths(content, body) == []
    assert find_untruths(content.model_copy(update={"total_minor": content.total_minor + 1}), body)


def build_transfer(**changes) -> InvoiceContent:
    return build_content(collection_method="send_invoice", due_at=NOVEMBER + timedelta(days=14), **changes)


def change(content: InvoiceContent) -> InvoiceContent:
    """The same document with every fact a little different."""
    return content.model_copy(
        update={
            "number": "NWA-0008",
            "account_id": 1043,
            "total_minor": content.total_minor + 1,
            "amount_remaining_minor": content.amount_remaining_minor - 1,
            "due_at": NOVEMBER + timedelta(days=15),
        }
    )


@pytest.mark.parametrize(
    ("printed", "true"),
    [("$11.00", 100), ("$1.00", 1100), ("$1,100.00", 100), ("$1.001", 100), ("$0.10", 100), ("€1.00", 100)],
)
def test_a_part_of_another_amount_is_not_the_amount(printed, true, monkeypatch):
    content = build_content().model_copy(update={"total_minor": true})
    break_template(monkeypatch, '<th scope="row">Total</th><td class="n">$13,544.68', printed)
    assert any("its total" in sentence for sentence in find_untruths(content, render_pdf(content).body))


def break_template(monkeypatch, before: str, amount: str) -> None:
    whole = pdf._fill_template

    def fill(content, version):
        html, pictures = whole(build_content(), version)
        return html.replace(before, before.rpartition("$")[0] + amount), pictures

    monkeypatch.setattr(pdf, "_fill_template", fill)


def lose(monkeypatch, old: str, new: str) -> None:
    """The template prints something else than it was told."""
    whole = pdf._fill_template

    def fill(content, version):
        html, pictures = whole(content, version)
        assert old in html
        return html.replace(old, new), pictures

    monkeypatch.setattr(pdf, "_fill_template", fill)


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("old", "new", "missing"),
    [
        (
            '<tr><th scope="row">Due date</th><td>November 15, 2026</td></tr>',
            "",
            "its due date: Due date November 15, 2026",
        ),
        ("$524.00", "$525.00", "its total: Total $524.00"),
        ('<th scope="row">Account</th>', '<th scope="row">Customer</th>', "its account: Account"),
    ],
)
def test_a_template_that_leaves_out_or_changes_a_fact_blocks_the_document(
    old, new, missing, monkeypatch, own_files: Path
):
    invoice = make_invoice(
        collection_method="send_invoice", due_at=NOVEMBER + timedelta(days=14), number="ACC-0001"
    )
    document = make_document(invoice)
    with monkeypatch.context() as patch:
        lose(patch, old, new)
        assert not render_document(document_id=document.pk, now=NOW)
    document.refresh_from_db()
    assert document.state == DocumentState.BLOCKED
    assert missing in document.blocked_reason
    alert = Alert.objects.get(name="invoice_mismatch")
    assert (alert.subject, alert.resolved_at) == ("ACC-0001", None)
    assert missing in alert.detail
    assert not InvoiceMail.objects.exists()
    assert not list(own_files.rglob("*.pdf"))
    assert not render_document(document_id=document.pk, now=NOW), "blocked documents wait for a person"


@pytest.mark.django_db
def test_a_mended_template_lets_the_blocked_document_through(monkeypatch):
    document = make_document()
    with monkeypatch.context() as patch:
        lose(patch, "$524.00", "$525.00")
        render_document(document_id=document.pk, now=NOW)
    revived = request_revision(invoice_id=document.invoice_id, reason="mended", actor="ops", now=NOW)
    assert (revived.pk, revived.state, revived.blocked_reason) == (document.pk, DocumentState.PENDING, "")
    assert render_document(document_id=document.pk, now=NOW)
    assert InvoiceMail.objects.count() == 1
    assert InvoiceDocument.objects.get().state == DocumentState.STORED
    assert Alert.objects.get(name="invoice_mismatch").resolved_at is not None


@pytest.mark.django_db
def test_one_whose_sums_do_not_come_out_stays_blocked():
    document = ensure_document(invoice_id=make_invoice(subtotal_minor=52401).pk, reason="test", now=NOW)
    assert document is not None
    with pytest.raises(NothingWouldChange):
        request_revision(invoice_id=document.invoice_id, reason="again", actor="ops", now=NOW)
