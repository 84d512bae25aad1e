"""Versions of the template: side by side, one in force, each document printed with its own."""

from __future__ import annotations

import pytest

from invoices.checks import check_rendering
from invoices.rendering import fonts
from invoices.rendering.assets import AssetFetcher
from invoices.rendering.markup import Markup, MarkupBroken
from invoices.rendering.pdf import render_html, render_pdf
from invoices.rendering.versions import TemplateMissing, get_current_version, list_versions
from invoices.services import documents
from tests.invoices.factories import NOW, make_document
from tests.invoices.samples import VARIANTS, build_content


def use_version(settings, version: str) -> None:
    settings.ENV = settings.ENV.model_copy(update={"INVOICE_TEMPLATE_VERSION": version})


def test_the_newest_version_is_in_force_and_the_old_one_still_prints(settings):
    assert list_versions() == ["1", "2", "3"]
    assert get_current_version() == "3"
    content = build_content()
    assert render_pdf(content).body == render_pdf(content, version="3").body
    assert render_pdf(content, version="1").body != render_pdf(content, version="2").body
    use_version(settings, "1")
    assert render_pdf(content).body == render_pdf(content, version="1").body


@pytest.mark.parametrize("version", ["1", "2"])
@pytest.mark.parametrize("variant", ["eur-german", "jpy-japanese", "void", "zero"])
def test_the_old_versions_print_every_kind(variant, version):
    assert render_pdf(VARIANTS[variant](), version=version).pages == 1


@pytest.mark.parametrize("version", ["9", "..", "../../mail", "1/../2", ""])
def test_a_version_that_is_not_there_is_refused(version, settings):
    use_version(settings, version)
    with pytest.raises(TemplateMissing):
        render_html(build_content())
    assert [message.id for message in check_rendering()] == ["invoices.E002"]


@pytest.mark.django_db
def test_a_document_is_printed_with_the_version_that_it_was_made_with(settings, monkeypatch):
    document = make_document()
    assert document.template_version == "3"
    use_version(settings, "1")
    printed = []

    def spy(content, version):
        printed.append(version)
        return render_pdf(content, version=version)

    monkeypatch.setattr(documents, "render_pdf", spy)
    assert documents.render_document(document_id=document.pk, now=NOW)
    assert printed == ["3"]
    revision = documents.request_revision(
        invoice_id=document.invoice_id, reason="the old look", actor="ops", now=NOW
    )
    assert (revision.revision, revision.template_version) == (2, "1")


def test_broken_markup_is_refused_with_its_place():
    with pytest.raises(MarkupBroken, match="line 1, column"):
        Markup("<html><body><p></body></html>", AssetFetcher())


def test_big_fonts_are_for_the_documents_that_need_them():
    assert fonts.is_own_text(render_html(VARIANTS["eur-german"]()))
    assert not fonts.is_own_text(render_html(VARIANTS["jpy-japanese"]()))
