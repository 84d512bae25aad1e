"""The bars of a document's usage per day: geometry and words, and the picture made of them.

The picture is a fixed small SVG in points: few paths and few texts, because each text costs a third of a millisecond.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Final

from django.utils.html import escape

from billing_worker.core.rating import USAGE_TYPES, UsageType
from invoices.content import DailyUsage, InvoiceContent, UsageSeries
from invoices.formatting import Formatter

#: All in points, from the upper left corner.
WIDTH: Final = 212.0
_LEFT: Final = 32.0
_TOP: Final = 4.0
_BASE: Final = 33.0
_DAYS_Y: Final = 41.0
_LEGEND_Y: Final = 49.5
_LEGEND_STEP: Final = 26.0
#: How much of a day's slot its bar takes.
_FILL: Final = 0.74
#: Ends of the scale, times a power of ten.
_ROUND: Final = (1, 2, 3, 4, 5, 6, 8, 10, 12, 15, 20, 25, 30, 40, 50, 60, 80, 100)
#: How much white is mixed into the accent colour, by usage type: told apart in black and white, too.
_WHITE: Final[Mapping[UsageType, float]] = {"ST": 0.0, "RM": 0.45, "CV": 0.75}


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageChart:
    """What the chart shows. `alt` says it in words; `series` are units a day, stacked in this order."""

    title: str
    alt: str
    top: int
    top_label: str
    first_day: str
    last_day: str
    series: Sequence[tuple[UsageType, Sequence[int]]]


def build_usage_chart(
    content: InvoiceContent, formatter: Formatter, texts: Mapping[str, str]
) -> UsageChart | None:
    """The chart of a document that knows its usage by day, else None. Pure."""
    usage = content.daily_usage
    totals = sum_days(usage) if usage else []
    if usage is None or not any(totals):
        return None
    top = choose_top(max(totals))
    days = formatter.days(_at(usage, 0), _at(usage, len(totals)))
    peak, low = totals.index(max(totals)), totals.index(min(totals))
    return UsageChart(
        title=texts["usage_chart"].format(days=days),
        alt=texts["usage_chart_alt"].format(
            days=days,
            total=formatter.number(sum(totals)),
            peak=formatter.number(totals[peak]),
            peak_day=formatter.day(_at(usage, peak)),
            low=formatter.number(totals[low]),
            low_day=formatter.day(_at(usage, low)),
        ),
        top=top,
        top_label=formatter.compact(top),
        first_day=formatter.day(_at(usage, 0)),
        last_day=formatter.day(_at(usage, len(totals) - 1)),
        series=[(one.kind, one.units) for one in _order(usage)],
    )


def sum_days(usage: DailyUsage) -> list[int]:
    """Units of each day, of all types together."""
    return [sum(units) for units in zip(*(one.units for one in usage.series), strict=True)]


def choose_top(value: int) -> int:
    """The end of the scale: the next round number, at most a quarter above the value or so."""
    step = 1
    while step * 100 <= value:
        step *= 10
    return next(step * digits for digits in _ROUND if step * digits >= value)


def draw_usage_chart(chart: UsageChart, *, accent: str, ink: str, families: str) -> str:
    """The chart as SVG, in a `data:` address. The same chart gives the same bytes."""
    slot = (WIDTH - _LEFT) / len(chart.series[0][1])
    height = _LEGEND_Y + 1 if len(chart.series) > 1 else _DAYS_Y + 1
    size = f'viewBox="0 0 {WIDTH:g} {height:g}" width="{WIDTH:g}pt" height="{height:g}pt"'
    scale = f"M{_LEFT:g} {_TOP:g}H{WIDTH:g}M{_LEFT:g} {_BASE:g}H{WIDTH:g}"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size}>',
        f'<path d="{scale}" fill="none" stroke="#d1d5db" stroke-width="0.4"/>',
        *_draw_bars(chart, slot, accent),
        f'<g font-family="{escape(families)}" font-size="6.5" fill="{ink}">',
        _draw_text(_LEFT - 3, _TOP + 2, chart.top_label, "end"),
        _draw_text(_LEFT, _DAYS_Y, chart.first_day, "start"),
        _draw_text(WIDTH, _DAYS_Y, chart.last_day, "end"),
        *(_draw_legend(chart, accent) if len(chart.series) > 1 else ()),
        "</g></svg>",
    ]
    return f"data:image/svg+xml;base64,{base64.b64encode(''.join(parts).encode()).decode()}"


def _draw_bars(chart: UsageChart, slot: float, accent: str) -> list[str]:
    """One path for each usage type, a thick stroke for each bar, on what the types before it reach."""
    below = [0] * len(chart.series[0][1])
    paths = []
    for kind, units in chart.series:
        bars = []
        for index, quantity in enumerate(units):
            if quantity:
                x, bottom = _LEFT + slot * (index + 0.5), _get_y(below[index], chart.top)
                below[index] += quantity
                bars.append(f"M{x:.2f} {bottom:.2f}V{_get_y(below[index], chart.top):.2f}")
        colour = mix_white(accent, _WHITE[kind])
        paths.append(
            f'<path d="{"".join(bars)}" fill="none" stroke="{colour}" stroke-width="{slot * _FILL:.2f}"/>'
        )
    return paths


def _draw_legend(chart: UsageChart, accent: str) -> list[str]:
    marks = []
    for index, (kind, _) in enumerate(chart.series):
        x = _LEFT + _LEGEND_STEP * index
        marks.append(
            f'<path d="M{x:.2f} {_LEGEND_Y:g}v-5h5v5z" fill="{mix_white(accent, _WHITE[kind])}"/>'
            f"{_draw_text(x + 7, _LEGEND_Y, kind, 'start')}"
        )
    return marks


def _draw_text(x: float, y: float, label: str, anchor: str) -> str:
    return f'<text x="{x:.2f}" y="{y:.2f}" text-anchor="{anchor}">{escape(label)}</text>'


def _get_y(value: int, top: int) -> float:
    return _BASE - (_BASE - _TOP) * value / top


def mix_white(colour: str, share: float) -> str:
    """`#1f3a8a` with so much white in it, 0 to 1: flat, because transparency is not for archives."""
    channels = (int(colour[index : index + 2], 16) for index in (1, 3, 5))
    return "#" + "".join(f"{round(channel + (255 - channel) * share):02x}" for channel in channels)


def _order(usage: DailyUsage) -> list[UsageSeries]:
    return sorted(usage.series, key=lambda one: USAGE_TYPES.index(one.kind))


def _at(usage: DailyUsage, index: int) -> datetime:
    day: date = usage.start_date + timedelta(days=index)
    return datetime.combine(day, time(0), tzinfo=UTC)
