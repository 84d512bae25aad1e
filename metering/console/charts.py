"""The geometry of the usage charts: drawn as SVG by the template, without any script.

Across, everything is in percent of the chart's width, so that bars stretch and text does not; down, in pixels from the
top.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from billing_worker.core.periods import Period
from metering.estimate import TierReached

HEIGHT = 152
#: Room above the bars for the names of tiers, in two rows; and below them for the days.
TOP, BOTTOM = 34, 20
BAR_SHARE = 0.72


@dataclass(frozen=True, slots=True)
class Bar:
    """A bucket's quantity. `x`, `width` and `middle` are percents; `y` and `height` pixels."""

    x: str
    width: str
    middle: str
    y: int
    height: int
    mark_y: int
    label: str
    is_revised: bool


@dataclass(frozen=True, slots=True)
class TierMark:
    """The day on which the month went into a higher tier."""

    x: str
    text_y: int
    label: str
    title: str
    is_late: bool


@dataclass(frozen=True, slots=True)
class Scale:
    """A line across the chart with the quantity it stands for."""

    y: int
    label: str


@dataclass(frozen=True, slots=True)
class Chart:
    """One usage type's month."""

    usage_type: str
    title: str
    total: str
    summary: str
    bars: tuple[Bar, ...]
    marks: tuple[TierMark, ...]
    scales: tuple[Scale, ...]
    days: tuple[tuple[str, str], ...]
    height: int = HEIGHT


def build_chart(
    *,
    usage_type: str,
    title: str,
    period: Period,
    quantities: Mapping[date, int],
    revised: Collection[date],
    tiers_reached: Iterable[TierReached],
    is_daily: bool,
) -> Chart:
    """A bar for each day with usage, or one across the month where it is fed monthly."""
    total = sum(quantities.values())
    top = _round_up(max(quantities.values(), default=0))
    slots = period.days if is_daily else 1
    bars = tuple(
        _build_bar(day, quantity, top=top, slots=slots, is_revised=day in revised, is_daily=is_daily)
        for day, quantity in sorted(quantities.items())
    )
    reached = [tier for tier in tiers_reached if tier.usage_type == usage_type]
    return Chart(
        usage_type=usage_type,
        title=title,
        total=f"{total:,}",
        summary=_summarize(usage_type, quantities, revised, reached),
        bars=bars,
        marks=_build_marks(reached, period),
        scales=tuple(Scale(_get_y(value, top), f"{value:,}") for value in (top, top // 2, 0)),
        days=tuple((_percent(_get_x(day, slots) + 50 / slots), str(day)) for day in (1, 5, 10, 15, 20, 25, period.days))
        if is_daily
        else (("50%", str(period)),),
    )  # fmt: skip


def _build_bar(day: date, quantity: int, *, top: int, slots: int, is_revised: bool, is_daily: bool) -> Bar:
    slot = 100 / slots
    left = _get_x(day.day, slots) + slot * (1 - BAR_SHARE) / 2
    y = _get_y(quantity, top)
    when = day.isoformat() if is_daily else f"{day:%Y-%m}"
    return Bar(
        x=_percent(left),
        width=_percent(slot * BAR_SHARE),
        middle=_percent(left + slot * BAR_SHARE / 2),
        y=y,
        height=HEIGHT - BOTTOM - y,
        mark_y=y - 6,
        label=f"{when}: {quantity:,}{', restated' if is_revised else ''}",
        is_revised=is_revised,
    )


def _build_marks(reached: Sequence[TierReached], period: Period) -> tuple[TierMark, ...]:
    """One mark a day; neighbours are named in two rows, so that names don't lie on each other."""
    by_day: dict[date, list[TierReached]] = {}
    for tier in reached:
        if tier.reached_on is not None:
            by_day.setdefault(tier.reached_on, []).append(tier)
    marks = []
    for number, (day, tiers) in enumerate(by_day.items()):
        marks.append(
            TierMark(
                x=_percent(_get_x(day.day, period.days)),
                text_y=11 + 13 * (number % 2),
                label=f"tier {tiers[-1].tier_index + 1}",
                title=f"{day}: past {tiers[-1].after_units:,}, into tier {tiers[-1].tier_index + 1}",
                is_late=day.day > period.days * 0.8,
            )
        )
    return tuple(marks)


def _summarize(
    usage_type: str, quantities: Mapping[date, int], revised: Collection[date], reached: Sequence[TierReached]
) -> str:  # fmt: skip
    if not quantities:
        return f"{usage_type}: no usage held"
    parts = [f"{usage_type}: {sum(quantities.values()):,} in {len(quantities)} buckets"]
    if revised:
        parts.append(f"{len(revised)} restated")
    parts += [
        f"tier {tier.tier_index + 1} reached" + (f" on {tier.reached_on}" if tier.reached_on else "")
        for tier in reached
    ]
    return "; ".join(parts)


def _round_up(value: int) -> int:
    """The next even step of 1, 2, 3, 4, 5, 6 or 8 in the leading digit, at least 10: the top of the scale."""
    step = 10
    while True:
        for factor in (1, 2, 3, 4, 5, 6, 8):
            if value <= factor * step:
                return factor * step
        step *= 10


def _get_y(value: int, top: int) -> int:
    room = HEIGHT - TOP - BOTTOM
    return TOP + room - room * value // top


def _get_x(day: int, slots: int) -> float:
    return (day - 1) * 100 / slots if slots > 1 else 0.0


def _percent(value: float) -> str:
    return f"{value:.3f}%"
