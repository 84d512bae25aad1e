"""The start of a subscription: its period, its first invoice and the payment that makes it active."""

from __future__ import annotations

from calendar import monthrange
from dataclasses import dataclass
from datetime import UTC, datetime
from fractions import Fraction
from typing import Any

from sandbox.billing.calendar import boundary, day_text, next_boundary
from sandbox.billing.collection import (
    NO_PAYMENT_METHOD,
    attempt_payment,
    finalize_and_collect,
    open_intent,
    payment_method_for,
    settle_if_nothing_due,
    void_invoice,
)
from sandbox.billing.cycle import draft_for
from sandbox.billing.finalization import finalize
from sandbox.billing.invoicing import balance_for
from sandbox.billing.items_due import (
    free_period_line,
    licensed_lines,
    pending_items,
    source_of,
    untouched_meter_line,
)
from sandbox.billing.lines import Period, subscription_line
from sandbox.billing.pricing import get_price, interval_of
from sandbox.billing.proration import prorate, share_of_cycles
from sandbox.billing.settlement import settle
from sandbox.billing.subscription_record import cycle_of, is_metered, items_of, save_subscription
from sandbox.billing.tiers import exact_amount
from sandbox.engine.context import Context
from sandbox.engine.errors import JsonObject, StripeError, invalid

DAY = 86_400


@dataclass(frozen=True, slots=True)
class Start:
    """The moments that a subscription starts from; epoch seconds."""

    now: int
    start: int
    anchor: int
    trial_end: int | None
    prorate: bool

    def first_period(self, interval: str, interval_count: int) -> Period:
        """The current period right after creation."""
        if self.trial_end is not None:
            return self.now, self.trial_end
        if self.anchor > self.now:
            return self.start, self.anchor
        return self.now, next_boundary(self.anchor, interval, interval_count, self.now)


def plan_start(params: dict[str, Any], now: int, interval: str, interval_count: int) -> Start:
    """Work out start, anchor and trial from the parameters.

    Raises:
        StripeError: 400; a moment lies on the wrong side of now, or the anchor after the next natural billing date.
    """
    start = params.get("backdate_start_date", now)
    if start > now:
        raise invalid("backdate_start_date", "Invalid backdate_start_date: it must not be in the future.")
    trial_end = _trial_end(params, now)
    anchor = params.get("billing_cycle_anchor")
    if "billing_cycle_anchor_config" in params:
        anchor = _configured_anchor(params["billing_cycle_anchor_config"], now, interval, interval_count)
    if anchor is not None:
        if trial_end not in (None, anchor):
            raise invalid(
                "billing_cycle_anchor",
                "The sandbox covers an anchor beside a trial only where the two agree.",
            )
        if anchor < now:
            raise invalid("billing_cycle_anchor", "Invalid billing_cycle_anchor: it must not be in the past.")
        latest = boundary(now, interval, interval_count, 1)
        if trial_end is None and anchor > latest:
            message = (
                f"billing_cycle_anchor cannot be later than next natural billing date ({latest}) for plan"
            )
            raise invalid("billing_cycle_anchor", message)
    prorated = params.get("proration_behavior", "create_prorations") != "none"
    return Start(now, start, anchor if anchor is not None else trial_end or now, trial_end, prorated)


def _trial_end(params: dict[str, Any], now: int) -> int | None:
    days: int = params.get("trial_period_days", 0)
    if days > 0:
        return now + days * DAY
    trial_end: int | str | None = params.get("trial_end")
    if trial_end is None or isinstance(trial_end, str):
        return None
    if trial_end <= now:
        raise invalid("trial_end", "Invalid timestamp: must be an integer Unix timestamp in the future.")
    return trial_end


def _configured_anchor(config: dict[str, int], now: int, interval: str, interval_count: int) -> int:
    moment = datetime.fromtimestamp(now, UTC)
    hour, minute = config.get("hour", moment.hour), config.get("minute", moment.minute)
    moment = moment.replace(hour=hour, minute=minute, second=config.get("second", moment.second))
    year, month = moment.year, config.get("month", moment.month)
    while True:
        day = min(config["day_of_month"], monthrange(year, month)[1])
        anchor = int(moment.replace(year=year, month=month, day=day).timestamp())
        if anchor >= now:
            return anchor
        step = month if "month" not in config else month + 11
        year, month = year + step // 12, step % 12 + 1


def first_lines(ctx: Context, subscription: JsonObject, start: Start) -> list[JsonObject]:
    """The subscription's own lines on its first invoice.

    Licensed items: free in a trial; prorated up to an anchor to come, in one line from the (backdated) start; otherwise
    the full period, after one line for the time since a backdated start. Metered items: a zero line each.
    """
    lines: list[JsonObject] = []
    period = (subscription["_period_start"], subscription["_period_end"])
    for item in items_of(ctx, subscription["id"]):
        if is_metered(item):
            lines.append(untouched_meter_line(ctx, subscription, item, start.now))
        elif start.trial_end is not None:
            lines.append(free_period_line(ctx, subscription, item, period, "Trial period for {}"))
        elif start.anchor > start.now:
            lines += _lines_until(ctx, subscription, item, (start.start, start.anchor), start)
        else:
            if start.start < start.now:
                lines += _lines_until(ctx, subscription, item, (start.start, start.now), start)
            lines += licensed_lines(ctx, subscription, item, period)
    return lines


def _lines_until(
    ctx: Context, subscription: JsonObject, item: JsonObject, stretch: Period, start: Start
) -> list[JsonObject]:
    """One licensed item's charge for a stretch before the anchor: by the second, or free without proration."""
    begin, end = stretch
    if not start.prorate:
        text = f"Free period for {{}} from {day_text(begin)} until {day_text(end)}"
        return [free_period_line(ctx, subscription, item, stretch, text)]
    interval, count = interval_of(item["price"])
    share = share_of_cycles(begin, end, anchor=start.anchor, interval=interval, interval_count=count)
    if share == 1:
        return licensed_lines(ctx, subscription, item, stretch)
    return [prorated_line(ctx, subscription, item, stretch, share)]


def prorated_line(
    ctx: Context, subscription: JsonObject, item: JsonObject, stretch: Period, share: Fraction
) -> JsonObject:
    """One line for a licensed item's share of its full price, rounded half up once."""
    source = source_of(ctx, subscription, item)
    price = get_price(ctx, item["price"]["id"])
    quantity = item["quantity"] or 0
    days = f"{day_text(stretch[0])} until {day_text(stretch[1])}"
    line = subscription_line(
        source,
        amount=prorate(exact_amount(price, quantity), share),
        quantity=quantity,
        unit_amount=None,
        description=f"Time on {quantity} × {source.product_name} from {days}",
        period=stretch,
        proration=True,
    )
    line["_tax_rates"] = [rate["id"] for rate in item.get("tax_rates") or []]
    return line


def start_subscription(
    ctx: Context, subscription: JsonObject, items: list[JsonObject], start: Start, behavior: str
) -> JsonObject:
    """Store a new subscription with its items, invoice its start and collect what is due.

    Raises:
        StripeError: 400, something is due and there is nothing to charge; 402, the payment failed and `behavior` is
            `error_if_incomplete`. Nothing stays of the subscription then.
    """
    for item in items:
        ctx.store.put("subscription_item", item)
    _, interval, count = cycle_of(ctx, subscription)
    subscription["_period_start"], subscription["_period_end"] = start.first_period(interval, count)
    save_subscription(ctx, subscription)
    lines = first_lines(ctx, subscription, start)
    payable = _due_at_start(ctx, subscription, lines)
    charged = subscription["collection_method"] == "charge_automatically"
    if payable and charged and behavior != "default_incomplete" and not _can_charge(ctx, subscription):
        _remove(ctx, subscription)
        raise NO_PAYMENT_METHOD
    if payable and charged:
        subscription["status"] = "incomplete"
    period = (start.now, start.now)
    invoice = draft_for(
        ctx, subscription, lines, period, start.now, "subscription_create", announce=_announce
    )
    if charged:
        _collect_first(ctx, subscription, invoice, start.now, behavior)
    return subscription


def _announce(ctx: Context, subscription: JsonObject, invoice: JsonObject) -> None:
    subscription["latest_invoice"] = invoice["id"]
    save_subscription(ctx, subscription)
    ctx.emit("customer.subscription.created", subscription)


def _due_at_start(ctx: Context, subscription: JsonObject, lines: list[JsonObject]) -> bool:
    currency, customer_id = subscription["currency"], subscription["customer"]
    pending = pending_items(ctx, customer_id, currency, subscription["id"])
    total = sum(line["amount"] for line in lines) + sum(item["amount"] for item in pending)
    balance = balance_for(ctx, {"customer": customer_id, "currency": currency})
    return settle(total, balance, currency).amount_due_minor > 0


def _can_charge(ctx: Context, subscription: JsonObject) -> bool:
    return (
        payment_method_for(ctx, {"customer": subscription["customer"], "_subscription": subscription["id"]})
        is not None
    )


def _collect_first(
    ctx: Context, subscription: JsonObject, invoice: JsonObject, at: int, behavior: str
) -> None:
    """The first invoice of a charged subscription is finalized and charged at once, not after an hour."""
    if behavior not in ("default_incomplete", "error_if_incomplete"):
        finalize_and_collect(ctx, invoice, at)
        return
    finalize(ctx, invoice, at)
    if settle_if_nothing_due(ctx, invoice, at):
        return
    if behavior == "default_incomplete":
        open_intent(ctx, invoice, at)
        return
    error = attempt_payment(ctx, invoice, at, automatic=True)
    if error is not None:
        void_invoice(ctx, invoice, at)
        _remove(ctx, subscription)
        raise StripeError(
            402,
            error.message,
            type=error.type,
            code=error.code,
            param=error.param,
            decline_code=error.decline_code,
        )


def _remove(ctx: Context, subscription: JsonObject) -> None:
    for item in items_of(ctx, subscription["id"]):
        ctx.store.delete("subscription_item", item["id"])
    for item in pending_items(ctx, subscription["customer"], subscription["currency"], subscription["id"]):
        if item["parent"] is not None:
            ctx.store.delete("invoiceitem", item["id"])
    ctx.store.delete("subscription", subscription["id"])
    ctx.store.delete("_due", subscription["id"])
