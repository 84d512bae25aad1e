"""The shortcuts through WeasyPrint: the same bytes, for the version that they were written for and no other."""

from __future__ import annotations

import hashlib
import inspect
import io
from functools import cache
from urllib.parse import quote

import pytest
from pypdf import PdfReader
from weasyprint import CSS

from invoices.checks import check_rendering
from invoices.content import Party
from invoices.rendering import pdf, shortcuts
from invoices.rendering.assets import AssetFetcher
from invoices.rendering.markup import Markup
from invoices.rendering.pdf import render_pdf
from invoices.rendering.shortcuts import styles
from tests.invoices.samples import VARIANTS, build_content, build_line
from tests.invoices.test_rendering import HOSTILE

#: Of every function that is replaced: what its source was when its shortcut was written.
SOURCES = {
    "Layout.setup": "fb227a55094f",
    "Layout.set_text": "fe23ca9937db",
    "Layout.deactivate": "bfec3ec8406e",
    "Layout.reactivate": "0b89ee097104",
    "weasyprint.text.line_break.first_line_metrics": "55ec5d0b58b2",
    "weasyprint.text.line_break.split_first_line": "39ad1016863c",
    "weasyprint.text.line_break.line_size": "03fa04fd51fc",
    "weasyprint.text.line_break.strut": "b57885b70dd0",
    "weasyprint.draw.text.draw_first_line": "1bb8eae6d88e",
    "weasyprint.css.StyleFor": "dac5a1326168",
    "weasyprint.layout.percent.resolve_percentages": "71673078096f",
    "weasyprint.layout.percent.resolve_radii_percentages": "4980b3798c67",
    "Box.is_in_normal_flow": "5f49d6ab23da",
    "weasyprint.layout.background.layout_box_backgrounds": "617a870678c8",
    "weasyprint.draw.border.draw_border": "8ba918f30893",
    "weasyprint.draw.border.set_mask_border": "2d237bb80221",
    "pydyf._to_bytes": "1cefd02c285d",
    "PDF.page_references": "060bf90aad55",
    "Object.reference": "f6610908554d",
    "Dictionary.data": "1a6ebf2b6bc6",
    "Array.data": "136a84494ae7",
}


def get_digest(value) -> str:
    if isinstance(value, property):
        value = value.fget
    return hashlib.sha256(inspect.getsource(value).encode()).hexdigest()[:12]


def test_what_the_shortcuts_replace_is_what_they_were_written_for():
    """After an upgrade: read what changed, correct the shortcut, then the digest here and `WRITTEN_FOR`."""
    assert shortcuts.fit()
    assert {
        f"{shortcut.owner.__name__}.{shortcut.name}": get_digest(shortcut.original)
        for shortcut in shortcuts.SHORTCUTS
    } == SOURCES


@pytest.mark.parametrize("variant", VARIANTS)
def test_documents_have_the_same_bytes_with_and_without_shortcuts(variant):
    content = VARIANTS[variant]()
    short = render_pdf(content).body
    with shortcuts.left_out():
        assert render_pdf(content).body == short


@pytest.mark.parametrize("text", [HOSTILE[0], HOSTILE[4], HOSTILE[5][:2000], HOSTILE[6][:2000], HOSTILE[7]])
def test_odd_texts_have_the_same_bytes_too(text):
    from invoices.content import clean_text

    cleaned = clean_text(text)
    content = build_content(
        [build_line("managed", 100, description=cleaned, account_name=cleaned, account_id=7)],
        buyer=Party(name=cleaned, address=(cleaned, cleaned), email=cleaned, tax_ids=(cleaned,)),
    )
    short = render_pdf(content).body
    with shortcuts.left_out():
        assert render_pdf(content).body == short


def test_the_old_template_has_the_same_bytes_too():
    content = VARIANTS["eur-everything"]()
    short = render_pdf(content, version="1").body
    with shortcuts.left_out():
        assert render_pdf(content, version="1").body == short


def test_what_the_templates_do_not_use_is_left_to_weasyprint():
    """Everything that a shortcut must see and leave alone, in one document, printed before and after an invoice."""
    with shortcuts.left_out():
        plain = print_markup(ZOO, ZOO_STYLES)
    assert len(PdfReader(io.BytesIO(plain)).pages) == 2
    for _ in range(2):
        assert print_markup(ZOO, ZOO_STYLES) == plain
        render_pdf(build_content())


@pytest.mark.parametrize(
    "rules", ["body { overflow: hidden }", "p::before { content: 'before ' }", "p { color: red }"]
)
def test_styles_that_cannot_be_kept_are_made_anew_for_each_document(rules):
    for anchor in ("one", "two"):
        body = f"<p id='{anchor}'>text</p>"
        with shortcuts.left_out():
            plain = print_markup(body, rules)
        assert [print_markup(body, rules) for _ in range(2)] == [plain, plain]


def test_a_second_document_of_a_kind_computes_no_styles(monkeypatch):
    render_pdf(build_content())
    made = []
    monkeypatch.setattr(styles, "ComputedStyle", lambda *given: made.append(given))
    other = build_content(buyer=Party(name="Another <Customer>", address=("Elsewhere",)), number="NWA-0008")
    assert render_pdf(other).pages == 1
    assert made == []


def test_the_language_of_a_document_is_its_own():
    """Words are hyphenated by their language, on the same style sheets."""
    rules = "body { hyphens: auto; width: 10mm; font: 12px 'Invoice Sans' } p { display: block }"
    body = "<p>Donaudampfschifffahrt, a representation</p><p lang='es'>incomprensibilidad</p>"
    found = {}
    for language in ("en", "de", "en"):
        with shortcuts.left_out():
            plain = print_markup(body, rules, language)
        assert print_markup(body, rules, language) == plain
        found[language] = plain
    assert len(found["en"]) != len(found["de"])


ZOO_STYLES = """
@page { size: 100mm 140mm; margin: 10% 5mm 8mm; @top-left { content: "page " counter(page); letter-spacing: 1px } }
@page :first { background: #eeeeee; @top-left { content: none } }
* { font: 10px/1.3 "Invoice Sans" }
div, section { display: block }
span { display: inline }
.absolute { position: absolute; top: 3%; right: 2mm; width: 30%; border-radius: 2mm; background: #abcdef }
.absolute, .hides { overflow: hidden }
.relative { position: relative; left: 2px }
.float { float: left; width: 25%; min-height: 12px; margin: 2%; border: 2px dotted #123456 }
.spaced { letter-spacing: 2px; word-spacing: 3px; text-align: justify }
.line { text-decoration: underline line-through }
.half { opacity: .5; transform: rotate(3deg) }
.borders { border-style: solid dashed double none; border-width: 1px 2px 3px 0; border-color: red green blue black }
.round { border-bottom: 2px solid red; border-radius: 4px }
.clear { border-bottom: 2px solid transparent }
.below { border-bottom: 1px solid }
.calc { width: calc(50% - 3px); padding: 1% 2px; box-sizing: border-box; max-height: 40px }
.columns { column-count: 2; column-rule: 1px solid red; column-gap: 5% }
.collapse { display: table; border-collapse: collapse; border: 1px solid }
.row { display: table-row }
.cell { display: table-cell; border: 2px solid #00ff00 }
.pre { white-space: pre-wrap; tab-size: 6 }
.ellipsis { text-overflow: ellipsis; overflow: hidden; white-space: nowrap; width: 30% }
.break { overflow-wrap: anywhere; width: 8% }
.shadow { box-shadow: 1px 1px 2px #888888; visibility: visible }
.hidden { visibility: hidden; border-bottom: 1px solid red }
.new { break-before: page }
"""
SVG = quote(
    '<svg xmlns="http://www.w3.org/2000/svg" width="200" height="40" font-family="Invoice Sans" font-size="9">'
    '<text x="5" y="12" fill="red">Impressions 12</text><text x="9" y="30" font-weight="bold" rotate="8">Tuesday'
    '</text><text x="120" y="12" text-anchor="end" letter-spacing="2" textLength="60">spread</text>'
    '<rect x="100" y="20" width="9" height="15" fill="none" stroke="blue"/></svg>'
)
ZOO = f"""
<div class="absolute">absolute <b>bold</b></div><div class="relative below">relative</div><div class="float">float</div>
<div class="spaced">spaced texts, justified over more
than one line, as a paragraph of a letter is set in print</div>
<div class="line">lines</div><div class="half">half</div><div class="borders">borders</div>
<div class="round">round</div>
<div class="clear">clear</div><div class="calc">calculated</div>
<div class="columns">one two three four five six seven</div>
<div class="collapse"><div class="row"><div class="cell">a</div><div class="cell">b</div></div></div>
<div class="pre">tab	stop
  two blanks</div><div class="ellipsis">an ellipsis at the end of a line that is too long</div>
<div class="break">Donaudampfschiffahrt</div><div class="below">Donau, after it</div><div class="shadow">shadow</div>
<div class="hidden">hidden</div><div style="color: blue; width: 40%">its own style <span>and within</span></div>
<img alt="picture" src="data:image/svg+xml,{SVG}"/>
<div class="new">the second page, 12 × 3.50 €</div>
"""


@cache
def _load_sheets(rules: str) -> list[CSS]:
    fonts = pdf._load_fonts(with_system=False)
    return [fonts.faces, pdf._parse(rules, fonts.config)]


def print_markup(body: str, rules: str, language: str = "en") -> bytes:
    fonts = pdf._load_fonts(with_system=False)
    sheets = _load_sheets(rules)
    html = f'<html lang="{language}"><head><title>Zoo</title></head><body>{body}</body></html>'
    with shortcuts.taken():
        document = Markup(html, AssetFetcher()).render(
            stylesheets=sheets, font_config=fonts.config, pdf_variant=pdf.PDF_VARIANT
        )
        printed = document.write_pdf(pdf_variant=pdf.PDF_VARIANT)
    assert isinstance(printed, bytes)
    return printed


def test_another_version_of_weasyprint_prints_without_them_and_says_so(monkeypatch):
    render_pdf(build_content())
    assert all(get_placed(shortcut) is shortcut.replacement for shortcut in shortcuts.SHORTCUTS)
    assert check_rendering() == []
    monkeypatch.setitem(shortcuts.WRITTEN_FOR, "weasyprint", "69.0")
    render_pdf(build_content())
    assert all(get_placed(shortcut) is shortcut.original for shortcut in shortcuts.SHORTCUTS)
    assert [message.id for message in check_rendering()] == ["invoices.W003"]


def get_placed(shortcut):
    return shortcut.owner.__dict__[shortcut.name]
