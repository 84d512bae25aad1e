"""Template changes before they go live: which documents are picked, what is compared, and who may ask for it."""

from __future__ import annotations

import io
from datetime import timedelta

import pytest
from django.urls import reverse
from PIL import Image

from invoices.content import dump_content
from invoices.models import InvoiceDocument, InvoiceMail
from invoices.previewing import comparing, picking
from invoices.previewing.comparing import compare_versions
from invoices.previewing.models import ComparisonPicture, ComparisonState, TemplateComparison
from invoices.previewing.picking import Pick, pick_representatives
from invoices.previewing.services import (
    KEPT_FOR,
    MAX_ATTEMPTS,
    OVERDUE_AFTER,
    make_comparison,
    request_comparisons,
    sweep_comparisons,
)
from invoices.rendering.pdf import RenderedPdf, render_pdf
from invoices.rendering.versions import TemplateMissing
from tests.invoices.factories import NOW, make_document, make_invoice
from tests.invoices.samples import VARIANTS, build_content, build_long
from tests.invoices.test_admin import make_client


def make_printed(variant: str, *, pages: int = 1, **changes: object) -> InvoiceDocument:
    """A document that says what a variant of the gallery says."""
    content = VARIANTS[variant]() if variant in VARIANTS else build_long(51)
    document = make_document(make_invoice(number=f"{variant[:12]}-{InvoiceDocument.objects.count()}"))
    InvoiceDocument.objects.filter(pk=document.pk).update(
        content=dump_content(content), locale=content.locale, currency=content.currency, pdf_pages=pages
    )
    document.refresh_from_db()
    return document


@pytest.mark.django_db
def test_documents_of_many_kinds_are_picked_each_once():
    for variant in (
        "open",
        "open",
        "open",
        "paid",
        "void",
        "eur-german",
        "eur-everything",
        "jpy-japanese",
        "zero",
        "eur-tax-included",
    ):
        make_printed(variant)
    make_printed("managed-services", pages=2)
    make_printed("twelve-lines")
    make_printed("child-accounts")
    picks = pick_representatives()
    assert len(picks) == 10
    assert len({pick.document.pk for pick in picks}) == 10
    kinds = {pick.why: pick.document.number.rpartition("-")[0] for pick in picks}
    assert kinds["long"] == "managed-serv"
    assert kinds["void"] == "void"
    assert kinds["paid"] == "paid"
    assert kinds["Japanese, or another script"] == "jpy-japanese"
    assert kinds["another language"] == "eur-everythi"
    assert kinds["taxes"] == "child-accoun"
    assert kinds["taxes in prices"] == "eur-tax-incl"


@pytest.mark.django_db
def test_with_few_documents_there_are_few_and_the_longest_are_left_out(monkeypatch):
    monkeypatch.setattr(picking, "MAX_LINES", 50)
    assert pick_representatives() == []
    make_printed("open")
    make_printed("too-long", pages=9)
    assert [pick.document.number for pick in pick_representatives()] == ["open-0"]


def test_two_versions_of_one_document_are_compared_in_pictures_and_words():
    made = compare_versions(VARIANTS["open"](), base="1", other="2")
    assert (made.base.version, made.base.pages, made.base.untruths, made.base.error) == ("1", 1, [], "")
    assert [page.page for page in made.pages] == [0]
    assert 0.01 < made.pages[0].changed < 0.5
    assert set(made.pictures) == {("base", 0), ("other", 0)}
    size = Image.open(io.BytesIO(made.pictures["other", 0])).size
    assert size == (816, 1056), "a Letter page of 96 dots an inch"
    assert any("Impressions per day" in text for text in made.texts_new)
    assert not any("Impressions per day" in text for text in made.texts_gone)


def test_of_a_long_document_all_pages_are_compared_and_those_that_differ_most_are_shown(monkeypatch):
    content = build_long(120)

    def render(content, version) -> RenderedPdf:
        """The right side has a longer text far down, so that lines after it move."""
        lines = list(content.lines)
        if version == "2":
            lines[60] = lines[60].model_copy(update={"description": "Another insertion order, long " * 4})
        return render_pdf(content.model_copy(update={"lines": tuple(lines)}), version="3")

    monkeypatch.setattr(comparing, "render_pdf", render)
    monkeypatch.setattr(comparing, "MAX_SHOWN", 2)
    made = compare_versions(content, base="1", other="2")
    pages = made.base.pages
    assert pages == 4
    compared = sorted([*made.pages, *made.others], key=lambda page: page.page)
    assert [page.page for page in compared] == list(range(pages))
    differing = [page.page for page in compared if page.changed]
    assert 0 < min(differing) < pages - 1
    most = max(compared, key=lambda page: page.changed).page
    assert {page.page for page in made.pages} == {0, pages - 1}, "and no room for the one that differs most"
    monkeypatch.setattr(comparing, "MAX_SHOWN", 3)
    assert comparing._choose_shown(compared, {pages - 1}) == {0, most, pages - 1}
    assert {page for _, page in made.pictures} == {page.page for page in made.pages}
    assert len(made.pictures) == 4


def test_the_same_version_looks_the_same():
    made = compare_versions(VARIANTS["zero"](), base="2", other="2")
    assert [page.changed for page in made.pages] == [0]
    assert (made.texts_gone, made.texts_new) == ([], [])


def test_a_version_that_cannot_print_or_does_not_tell_the_truth_is_an_answer(monkeypatch):
    content = build_content()
    missing = compare_versions(content, base="2", other="9")
    assert missing.other.error.startswith("TemplateMissing")
    assert [page.changed for page in missing.pages] == [1.0]

    def render(content, version) -> RenderedPdf:
        return render_pdf(
            content.model_copy(update={"number": "WRONG-1"}) if version == "1" else content, version=version
        )

    monkeypatch.setattr(comparing, "render_pdf", render)
    wrong = compare_versions(content, base="2", other="1")
    assert wrong.other.untruths == ["the PDF does not say its number: Invoice number NWA-0007"]


def ask(document: InvoiceDocument, *, base: str = "1", other: str = "2", **changes: object) -> int:
    values = {"actor": "ada", "now": NOW, **changes}
    return request_comparisons(picks=[Pick(document, "one page")], base=base, other=other, **values)  # type: ignore[arg-type]


@pytest.mark.django_db
def test_a_comparison_is_made_once_and_stores_and_mails_nothing(own_files):
    document = make_document()
    assert ask(document) == 1
    row = TemplateComparison.objects.get()
    assert make_comparison(comparison_id=row.pk, now=NOW)
    assert not make_comparison(comparison_id=row.pk, now=NOW)
    row.refresh_from_db()
    assert (row.state, row.result["other"]["version"]) == (ComparisonState.DONE, "2")
    assert ComparisonPicture.objects.count() == 2
    assert ask(document, now=NOW + timedelta(hours=1)) == 0, "it is there already"
    document.refresh_from_db()
    assert (document.state, InvoiceMail.objects.count()) == ("pending", 0)
    assert not (own_files / "invoices").exists()


@pytest.mark.django_db
def test_a_changed_template_is_printed_anew(monkeypatch, tmp_path):
    document = make_document()
    ask(document)
    row = TemplateComparison.objects.get()
    make_comparison(comparison_id=row.pk, now=NOW)
    monkeypatch.setattr("invoices.previewing.services.TEXTS_DIR", tmp_path)
    assert ask(document) == 1
    row.refresh_from_db()
    assert (row.state, row.attempts, row.result) == (ComparisonState.PENDING, 0, {})


@pytest.mark.django_db
def test_what_was_asked_for_anew_meanwhile_is_not_overwritten(monkeypatch):
    document = make_document()
    ask(document)
    row = TemplateComparison.objects.get()

    def compare(*args, **kwargs):
        TemplateComparison.objects.update(fingerprint="another state of the template")
        return compare_versions(*args, **kwargs)

    monkeypatch.setattr("invoices.previewing.services.compare_versions", compare)
    assert not make_comparison(comparison_id=row.pk, now=NOW)
    row.refresh_from_db()
    assert row.state == ComparisonState.PENDING
    assert ComparisonPicture.objects.count() == 0


@pytest.mark.django_db
def test_a_version_that_is_not_there_is_refused():
    with pytest.raises(TemplateMissing):
        ask(make_document(), other="../1")


@pytest.mark.django_db
def test_lost_work_is_found_given_up_after_three_workers_and_thrown_away_in_the_end(monkeypatch):
    kicked: list[int] = []
    monkeypatch.setattr("invoices.previewing.services.kick", lambda task, pk: kicked.append(pk))
    ask(make_document())
    row = TemplateComparison.objects.get()
    kicked.clear()
    assert sweep_comparisons(now=NOW + OVERDUE_AFTER) == 0
    assert sweep_comparisons(now=NOW + OVERDUE_AFTER + timedelta(seconds=1)) == 1
    assert kicked == [row.pk]
    TemplateComparison.objects.update(attempts=MAX_ATTEMPTS)
    assert not make_comparison(comparison_id=row.pk, now=NOW)
    row.refresh_from_db()
    assert (row.state, row.done_at) == (ComparisonState.FAILED, NOW)
    sweep_comparisons(now=NOW + KEPT_FOR + timedelta(seconds=1))
    assert TemplateComparison.objects.count() == 0


@pytest.mark.django_db
def test_the_page_shows_both_sides_to_viewers_and_the_button_to_those_who_may():
    document = make_document()
    page = reverse("admin:invoices_templatecomparison_changelist")
    compare = reverse("admin:invoices_templatecomparison_compare")
    viewer = make_client("view_templatecomparison", "view_invoicedocument")
    assert "you may not have documents printed" in viewer.get(page).content.decode()
    assert viewer.post(compare, {"base": "1", "other": "2"}).status_code == 403
    assert TemplateComparison.objects.count() == 0

    viewer.session.flush()
    ask(document, base="2", other="1")
    row = TemplateComparison.objects.get()
    viewer = make_client("view_templatecomparison", "view_invoicedocument", name="eve")
    page += "?base=2&other=1"
    waiting = viewer.get(page)
    assert "1 of 1 are still being printed" in waiting.content.decode()
    assert waiting["Refresh"] == "2"
    make_comparison(comparison_id=row.pk, now=NOW)
    done = viewer.get(page)
    text = done.content.decode()
    assert "Refresh" not in done
    assert document.number in text
    assert text.count("Says what Stripe says") == 2
    assert "% of a page differs" in text
    picture = ComparisonPicture.objects.first()
    assert picture is not None
    url = reverse("admin:invoices_templatecomparison_picture", args=[picture.pk])
    assert viewer.get(url).content.startswith(b"\x89PNG")
    assert make_client("view_templatecomparison", name="bob").get(url).status_code == 403


@pytest.mark.django_db
def test_asking_picks_documents_and_wakes_a_worker_for_each():
    make_document()
    client = make_client("view_templatecomparison", "rerender_invoicedocument")
    answer = client.post(reverse("admin:invoices_templatecomparison_compare"), {"base": "2", "other": "1"})
    assert answer["Location"].endswith("?base=2&other=1")
    row = TemplateComparison.objects.get()
    assert (row.requested_by, row.state) == ("ada", ComparisonState.PENDING)
    refused = client.post(
        reverse("admin:invoices_templatecomparison_compare"), {"base": "2", "other": "9"}, follow=True
    )
    assert "there is no invoice template" in refused.content.decode()
