"""The chart of usage per day: when there is one, what it says, and that it is drawn to scale."""

from __future__ import annotations

import base64
import io
import re
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from pypdf import PdfReader

from billing_worker.core.rating import UsageType
from invoices.building import build_content
from invoices.content import DailyUsage, InvoiceContent, UsageSeries
from invoices.formatting import get_formatter
from invoices.locales import get_language, get_texts
from invoices.rendering.pdf import render_html, render_pdf
from invoices.services.documents import request_revision
from invoices.usage_chart import UsageChart, build_usage_chart, choose_top, draw_usage_chart
from metering.selectors import get_daily_units
from metering.states import EventState
from tests.invoices.factories import NOVEMBER, NOW, OCTOBER, make_document, make_invoice
from tests.invoices.samples import VARIANTS
from tests.invoices.samples import build_content as build_sample
from tests.metering.factories import MeterEventFactory


def make_chart(content: InvoiceContent) -> UsageChart:
    texts = get_texts(get_language(content.locale))
    chart = build_usage_chart(content, get_formatter(content.locale), texts)
    assert chart is not None
    return chart


def tell(days: dict[UsageType, list[int]], start: date = date(2026, 10, 1)) -> DailyUsage:
    series = tuple(UsageSeries(kind=kind, units=tuple(units)) for kind, units in days.items())
    return DailyUsage(start_date=start, series=series)


def draw(chart: UsageChart) -> str:
    url = draw_usage_chart(chart, accent="#000000", ink="#111111", families="A, B")
    return base64.b64decode(url.removeprefix("data:image/svg+xml;base64,")).decode()


@pytest.mark.parametrize(
    ("value", "top"),
    [
        *((1, 1), (2, 2), (7, 8), (9, 10), (10, 10), (11, 12), (99, 100), (100, 100), (399, 400), (401, 500)),
        (107_001, 120_000),
    ],
)
def test_the_scale_ends_at_the_next_round_number(value, top):
    assert choose_top(value) == top


def test_bars_stand_on_each_other_and_reach_their_share_of_the_scale():
    content = build_sample(daily_usage=tell({"ST": [10, 0, 5], "CV": [10, 0, 0]}))
    svg = draw(make_chart(content))
    strokes = re.findall(r'd="([^"]*)" fill="none" stroke="(#[0-9a-f]{6})" stroke-width="44.40"', svg)
    # The scale ends at 20: 29 points high, its base line at 33.
    assert strokes == [
        ("M62.00 33.00V18.50M182.00 33.00V25.75", "#000000"),
        ("M62.00 18.50V4.00", "#bfbfbf"),
    ]


@pytest.mark.parametrize(
    ("locale", "title", "top", "days", "alt"),
    [
        ("en_US", "Impressions per day, Oct 1 – 3, 2026", "250K", ("Oct 1", "Oct 3"),
         "450,000 impressions per day, Oct 1 – 3, 2026: most on Oct 2 with 250,000, fewest on Oct 3 with 50,000"),
        ("de_DE", "Impressionen pro Tag, 1.–3. Okt. 2026", "250.000", ("1. Okt.", "3. Okt."), "450.000"),
        ("fr_FR", "Impressions par jour, 1–3 oct. 2026", "250 k", ("1 oct.", "3 oct."), "450 000"),
        ("es_ES", "Impresiones por día, 1–3 oct 2026", "250 mil", ("1 oct", "3 oct"), "450.000"),
        ("ja_JP", "日別インプレッション（2026年10月1日～3日）", "25万", ("10月1日", "10月3日"), "450,000"),
    ],
)  # fmt: skip
def test_title_axes_and_alternative_text_are_in_the_documents_language(locale, title, top, days, alt):
    chart = make_chart(
        build_sample(locale=locale, daily_usage=tell({"ST": [150_000, 250_000, 50_000]})),
    )
    plain = [re.sub(r"\s", " ", text) for text in (chart.title, chart.top_label)]
    assert plain == [title, top]
    assert (chart.first_day, chart.last_day) == days
    assert alt in re.sub(r"\s", " ", chart.alt)


def test_only_several_types_need_a_legend():
    one, two = tell({"ST": [1, 2]}), tell({"ST": [1, 2], "CV": [1, 2]})
    assert draw(make_chart(build_sample(daily_usage=one))).count("</text>") == 3, "the scale and two days"
    assert draw(make_chart(build_sample(daily_usage=two))).count("</text>") == 5, (
        "the scale, two days, two types"
    )


@pytest.mark.parametrize("usage", [None, tell({"ST": [0, 0]})])
def test_without_usage_there_is_no_chart(usage):
    assert "data:image/svg" not in render_html(build_sample(daily_usage=usage))


def test_the_chart_is_a_figure_with_its_words_and_the_same_bytes_again():
    content = VARIANTS["eur-german"]()
    body = render_pdf(content).body
    assert render_pdf(content).body == body
    figures = list_figures(PdfReader(io.BytesIO(body)).root_object["/StructTreeRoot"])
    assert [alt for alt in figures if alt.startswith("Balkendiagramm von 10.975.797 Impressionen pro Tag")]
    assert len(figures) == 3


def list_figures(element: Any) -> list[str]:
    """The alternative texts of every figure below an element of the structure tree."""
    element = element.get_object()
    if not hasattr(element, "get"):
        return []
    found = [str(element.get("/Alt"))] if element.get("/S") == "/Figure" else []
    children = element.get("/K", [])
    for child in children if isinstance(children, list) else [children]:
        found += list_figures(child)
    return found


def send(account: Any, day: int, value: int, **changes: Any) -> None:
    """A meter event of a day in October that Stripe has counted."""
    values = {"bucket": f"2026-10-{day:02d}", "state": EventState.SENT, "sent_at": NOW, **changes}
    MeterEventFactory.create(account=account, value=value, **values)


@pytest.mark.django_db
def test_the_days_of_what_was_sent_are_frozen_into_the_document():
    invoice = make_invoice()
    send(invoice.account, 1, 150_000)
    send(invoice.account, 31, 60_000)
    send(invoice.account, 31, -10_000, revision=1, first_revision=1)
    usage = build_content(invoice).daily_usage
    assert usage is not None
    assert (usage.start_date, [series.kind for series in usage.series]) == (date(2026, 10, 1), ["ST"])
    assert usage.series[0].units == (150_000, *[0] * 29, 50_000)

    make_document(invoice)
    send(invoice.account, 5, 1)
    assert build_content(invoice).daily_usage == usage, (
        "a correction after printing belongs to no printed page"
    )


@pytest.mark.django_db
@pytest.mark.parametrize(
    "changes",
    [
        {"value": 199_999},
        {"state": EventState.SHADOW},
        {"bucket": "2026-10", "bucket_start_at": OCTOBER},
        {"meter": "RM"},
        {"bucket": "2026-11-01"},
        {"bucket": "2026-09-30"},
    ],
)
def test_days_that_do_not_add_up_to_the_bill_are_left_out(changes):
    invoice = make_invoice()
    assert build_content(invoice).daily_usage is None
    send(invoice.account, 7, **{"value": 200_000, **changes})
    assert build_content(invoice).daily_usage is None


@pytest.mark.django_db
def test_days_are_known_only_of_one_stretch_of_whole_days():
    invoice = make_invoice()
    send(invoice.account, 7, 200_000)
    assert build_content(invoice).daily_usage is not None
    for changes in (
        {"period_start": OCTOBER + timedelta(hours=1)},
        {"period_end": NOVEMBER + timedelta(days=1)},
    ):
        invoice.lines.filter(kind="ST").update(period_start=OCTOBER, period_end=NOVEMBER)
        invoice.lines.filter(kind="ST").update(**changes)
        assert build_content(invoice).daily_usage is None


@pytest.mark.django_db
def test_nothing_is_asked_where_no_source_is_set(settings):
    invoice = make_invoice()
    send(invoice.account, 7, 200_000)
    settings.INVOICE_USAGE_DAYS = ""
    assert build_content(invoice).daily_usage is None


@pytest.mark.django_db
def test_a_revision_keeps_the_days_that_were_printed():
    invoice = make_invoice()
    send(invoice.account, 7, 200_000)
    printed = make_document(invoice)
    send(invoice.account, 8, 5)
    invoice.status = "void"
    invoice.save()
    revision = request_revision(invoice_id=invoice.pk, reason="voided", actor="ops", now=NOW)
    assert revision.content["daily_usage"]
    assert revision.content["daily_usage"] == printed.content["daily_usage"]


@pytest.mark.django_db
def test_usage_is_told_by_day_and_type_for_one_customer():
    invoice, other = make_invoice(), make_invoice()
    send(invoice.account, 3, 7)
    send(invoice.account, 3, 5, meter="CV")
    send(other.account, 3, 11)
    start = datetime(2026, 10, 3, tzinfo=UTC)
    days = get_daily_units(invoice.customer, start_at=start, end_at=start + timedelta(days=2))
    assert days == {"ST": (7, 0), "CV": (5, 0)}
