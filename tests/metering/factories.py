"""Smallest valid usage and meter events, and a stand-in for the sender's view of Stripe."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from factory.declarations import LazyAttribute, SelfAttribute, SubFactory
from factory.django import DjangoModelFactory

from billing_worker import gateway
from billing_worker.catalog.sampled.models import SampledMeter
from billing_worker.catalog.sampled.services import define_sampled_meter, set_sampled_plan
from billing_worker.catalog.sampled.states import BillingMode, BucketLength, SampledQuantity
from billing_worker.core.periods import Period
from billing_worker.core.rating import Tier
from metering import models
from metering.buckets import get_bucket_start
from metering.parsing import UsageInput, parse_record
from metering.samples.ingest import store_samples
from metering.samples.parsing import parse_sample
from metering.services.roll_up import get_lanes
from metering.services.seam import Seam
from metering.services.sending import EventCall
from metering.states import EventState
from tests.factories import CustomerAccountFactory

#: Three days after the dual-run month: all of its days are closed, none of them is too old.
NOW = datetime(2026, 11, 3, 12, tzinfo=UTC)
LIVE = Seam(shadow=False)
SHADOW = Seam(shadow=True)


def make_input(account_id: int, period: str, usage_type: str, quantity: int, reason: str = "") -> UsageInput:
    raw = {"account_id": account_id, "period": period, "usage_type": usage_type, "quantity": quantity}
    return parse_record(raw | ({"reason": reason} if reason else {}), today=NOW.date())


class MeterEventFactory(DjangoModelFactory[models.MeterEvent]):
    """A pending event of 5 October with 100 units for an account that has a customer."""

    class Meta:
        model = models.MeterEvent

    account = SubFactory(CustomerAccountFactory)
    payer = SelfAttribute("account")
    meter = "ST"
    event_name = LazyAttribute(lambda event: f"impressions_{event.meter.lower()}")
    lane = LazyAttribute(
        lambda event: (
            get_lanes(event.payer.stripe_customer_id, [event.event_name])[event.event_name]
            if event.payer
            else None
        )
    )
    period = "2026-10"
    bucket = "2026-10-05"
    bucket_start_at = LazyAttribute(lambda event: get_bucket_start(date.fromisoformat(event.bucket)))
    at = LazyAttribute(lambda event: event.bucket_start_at + timedelta(hours=12))
    identifier = LazyAttribute(
        lambda event: (
            f"{event.account.pk}:{event.bucket}:{event.meter}"
            + (f":{event.revision}" if event.revision else "")
        )
    )
    first_revision = 0
    revision = 0
    value = 100
    state = EventState.PENDING
    created_at = NOW


class FakeStripe:
    """Counts meter events as Stripe does: identifiers are refused a second time. Faults happen where a test puts them.

    `faults` holds, by identifier, what to do at the next call: an exception to raise before the effect, or
    `("after", exception)` to raise after it; `request_faults` does so for whole requests of the stream, in turn.
    """

    def __init__(self, *, batch: int = 1) -> None:
        self.batch = batch
        self.requests: list[int] = []
        self.request_faults: list[Any] = []
        self.events: dict[str, EventCall] = {}
        self.calls: list[str] = []
        self.faults: defaultdict[str, list[Any]] = defaultdict(list)
        self.on_call: Callable[[EventCall], None] | None = None
        self.foreign_units = 0
        self.is_lagging = False
        self._busy: set[tuple[str, str]] = set()
        self._lock = threading.Lock()
        self.overlaps = 0

    def send(self, call: EventCall) -> None:
        lane = (call.customer, call.event_name)
        with self._lock:
            self.overlaps += lane in self._busy
            self._busy.add(lane)
            self.calls.append(call.identifier)
        try:
            if self.on_call:
                self.on_call(call)
            self._count(call)
        finally:
            with self._lock:
                self._busy.discard(lane)

    def send_many(self, calls: Sequence[EventCall]) -> None:
        """Like the stream: taken whole or not at all, a repeated identifier dropped without a word."""
        lanes = {(call.customer, call.event_name) for call in calls}
        with self._lock:
            self.overlaps += bool(lanes & self._busy)
            self._busy |= lanes
            self.requests.append(len(calls))
            fault = self.request_faults.pop(0) if self.request_faults else None
        try:
            if isinstance(fault, Exception):
                raise fault
            with self._lock:
                for call in calls:
                    self.events.setdefault(call.identifier, call)
            if fault:
                raise fault[1]
        finally:
            with self._lock:
                self._busy -= lanes

    def _count(self, call: EventCall) -> None:
        fault = self.faults[call.identifier].pop(0) if self.faults.get(call.identifier) else None
        if isinstance(fault, Exception):
            raise fault
        if call.identifier in self.events:
            raise gateway.DuplicateMeterEvent(
                "An event already exists with this identifier",
                stripe_code=None,
                param="identifier",
                status=400,
            )
        with self._lock:
            self.events[call.identifier] = call
        if fault:
            raise fault[1]

    def get_total(self, *, event_name: str, customer: str, start_at: datetime, end_at: datetime) -> int:
        if self.is_lagging:
            return 0
        return self.foreign_units + sum(
            call.value
            for call in self.events.values()
            if call.customer == customer and call.event_name == event_name and start_at <= call.at < end_at
        )

    @property
    def total(self) -> int:
        return sum(call.value for call in self.events.values())


def unavailable(*, outcome_unknown: bool = True) -> gateway.GatewayUnavailable:
    return gateway.GatewayUnavailable("Stripe did not answer", outcome_unknown=outcome_unknown)


class Clock:
    """A clock that tests move; sleeping moves it too."""

    def __init__(self, now: datetime = NOW) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


def make_sampled_meter(
    name: str = "gb_seconds",
    *,
    tiers: tuple[str, ...] = ("standard", "pro"),
    bucket: BucketLength = BucketLength.HOUR,
    quantity: SampledQuantity = SampledQuantity.GB_SECONDS,
    rate: str = "0.5",
) -> SampledMeter:
    """A sampled meter with a dollar price for each tier; unified if `tiers` is a single empty name."""
    return define_sampled_meter(
        name=name,
        title=quantity.label,
        quantity=quantity,
        billing_mode=BillingMode.UNIFIED if tiers == ("",) else BillingMode.PER_TIER,
        bucket=bucket,
        tiers={tier: {"usd": [Tier(None, Decimal(rate))]} for tier in tiers},
        actor="test",
        reason="first meter",
        now=NOW,
    )


def put_on_tier(
    account_id: int, tier: str | None, *, meter: str = "gb_seconds", period: str = "2026-01"
) -> None:
    set_sampled_plan(
        account_id=account_id,
        meter=meter,
        tier=tier,
        from_period=Period.parse(period),
        actor="test",
        reason="signed",
        now=NOW,
    )


def make_sample(event_id: str = "e1", at: str = "2026-10-05T14:30:00Z", **changes: Any) -> dict[str, Any]:
    """A minute of 1,024 MB, which is 60 GB-seconds."""
    return {
        "event_id": event_id,
        "account_id": 5001,
        "meter": "gb_seconds",
        "at": at,
        "interval_s": 60,
        "dimensions": {"memory_mb": 1024, "cpu_count": 2},
    } | changes


def store_sample(*raw: dict[str, Any]) -> list[str]:
    """Store samples as one request does; what became of each."""
    samples = [parse_sample(one, now=NOW) for one in raw]
    return [outcome.status for outcome in store_samples(samples=samples, now=NOW)]
