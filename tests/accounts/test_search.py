"""Search in the console: what is found by what, and that no search of a big table reads all of it."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib import admin
from django.db import connection
from django.db.models import Model
from django.test import RequestFactory
from django.test.utils import CaptureQueriesContext

from billing_worker.accounts import search
from billing_worker.accounts.search import IndexedSearch
from billing_worker.mirror.models import StripeInvoice
from billing_worker.webhooks.models import InboxEvent
from invoices.models import InvoiceDocument, InvoiceMail
from metering.models import MeterEvent
from tests.factories import CustomerAccountFactory
from tests.invoices.factories import NOW, make_document, make_invoice

admin.autodiscover()
INDEXED = [site for site in admin.site._registry.values() if isinstance(site, IndexedSearch)]


def find(model: type[Model], words: str) -> list[Any]:
    site = admin.site._registry[model]
    request = RequestFactory().get("/")
    found, _ = site.get_search_results(request, site.model._default_manager.all(), words)
    return sorted(found, key=lambda row: row.pk)


@pytest.fixture
def two(db: None) -> tuple[InvoiceDocument, InvoiceDocument]:
    """Documents of Northwind Ltd (5001) and Contoso Ltd (5002), each with its mail."""
    made = []
    for key, name in ((5001, "Northwind Ltd"), (5002, "Contoso Ltd")):
        account = CustomerAccountFactory.create(
            id=key,
            name=name,
            stripe_customer_id=f"cus_{name[:5]}",
            billing_email=f"ap@{name[:5].lower()}.example.com",
            billing_cc="Books77@example.com" if key == 5001 else "",
        )
        number = f"{name[:3].upper()}-0001"
        document = make_document(
            make_invoice(account=account, number=number, stripe_invoice_id=f"in_{key}Ab")
        )
        InvoiceMail.objects.create(
            document=document,
            sequence=0,
            message_id=f"{document.uuid}.0@example.com",
            subject=number,
            state="queued",
            queued_at=NOW,
        )
        made.append(document)
    return made[0], made[1]


def find_both(words: str) -> tuple[list[Any], list[Any]]:
    """The documents, and the documents of the mails."""
    return find(InvoiceDocument, words), [mail.document for mail in find(InvoiceMail, words)]


def test_documents_and_mails_are_found_by_number_customer_and_address(
    two: tuple[InvoiceDocument, InvoiceDocument],
) -> None:
    for words in (
        *("NOR-0001", "NOR-00", "nor-0001", "5001", "cus_North", "northwind", "NORTH", "wind"),
        *("ap@north", "books77@EXAMPLE.com", "wind ltd", "NOR- books77@", "north 5001"),
    ):
        assert find_both(words) == ([two[0]], [two[0]]), words
    for words in ("", "ltd", "l", "example.com"):
        assert find_both(words) == (list(two), list(two)), words
    for words in ("nothing", "0001", "500", "77", "N-", "wind contoso", "%", "_", "9" * 30):
        assert find_both(words) == ([], []), words


def test_stripes_ids_are_found_whole_and_as_they_are(two: tuple[InvoiceDocument, InvoiceDocument]) -> None:
    assert find(InvoiceDocument, "in_5002Ab") == [two[1]]
    assert find(InvoiceDocument, "in_5002") == find(InvoiceDocument, "in_5002ab") == []
    assert [mail.document for mail in find(InvoiceMail, f"{two[1].uuid}.0@example.com")] == [two[1]]


@pytest.mark.parametrize(("most", "part"), [(1, 1), (2, 1), (10, 2)])
def test_a_word_that_fits_many_customers_finds_them_all(
    most: int, part: int, two: tuple[InvoiceDocument, InvoiceDocument], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "MAX_KEYS", most)
    monkeypatch.setattr(search, "PART", part)
    assert find_both("ltd") == (list(two), list(two))
    assert find_both("northwind") == ([two[0]], [two[0]])


def make_event(event_id: str, object_id: str, customer: str) -> InboxEvent:
    return InboxEvent.objects.create(
        event_id=event_id,
        type="invoice.finalized",
        payload="{}",
        object_id=object_id,
        customer=customer,
        event_created_at=NOW,
        received_at=NOW,
        next_attempt_at=NOW,
    )


def test_events_are_found_by_their_customers_name(two: tuple[InvoiceDocument, InvoiceDocument]) -> None:
    event = make_event("evt_1", "in_5001Ab", "cus_North")
    make_event("evt_2", "in_5002Ab", "cus_Conto")
    for words in ("northwind", "evt_1", "in_5001Ab", "cus_North", "5001"):
        assert find(InboxEvent, words) == [event], words
    assert len(find(InboxEvent, "evt_")) == 2


def test_what_is_big_is_searched_by_indexes() -> None:
    assert {site.model for site in INDEXED} >= {
        InvoiceDocument,
        InvoiceMail,
        InboxEvent,
        StripeInvoice,
        MeterEvent,
    }
    for site in INDEXED:
        assert site.search_help_text, site
        for name in site.search_fields:
            assert is_indexed(site.model, name.lstrip("=")), (site, name)
        assert is_indexed(site.model, site.search_account), site  # type: ignore[attr-defined]


def is_indexed(model: Any, path: str) -> bool:
    """Whether each column on the way to a field leads an index of its table."""
    for name in path.split("__"):
        field = model._meta.get_field(name)
        keys = [index.fields[0].lstrip("-") for index in model._meta.indexes if index.fields]
        keys += [
            constraint.fields[0]
            for constraint in model._meta.constraints
            if getattr(constraint, "fields", ())
        ]
        if not (field.unique or field.db_index or name in keys):
            return False
        model = field.related_model or model
    return True


def test_no_statement_looks_into_every_row_of_a_big_table(
    two: tuple[InvoiceDocument, InvoiceDocument],
) -> None:
    """Only of accounts, of which there are thousands, are names compared row by row."""
    with CaptureQueriesContext(
        connection,
    ) as captured:
        for site in INDEXED:
            find(site.model, "wind")
    slow = [query["sql"] for query in captured.captured_queries if "LOWER(" in query["sql"]]
    assert slow
    assert all("FROM `accounts_account`" in sql.replace('"', "`") for sql in slow), slow
    assert all(" JOIN " not in sql for sql in slow), slow
