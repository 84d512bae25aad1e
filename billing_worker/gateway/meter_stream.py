"""The meter event stream of API v2: up to 100 events a request, with the token of a session that lasts 15 minutes.

Stripe answers before it has looked at the events: an event that is wrong is told later by a thin event, and one whose
identifier was used in the last 24 hours is dropped without a word. https://docs.stripe.com/api/v2/meter-event-streams
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import TYPE_CHECKING, Final
from weakref import WeakKeyDictionary

from billing_worker.gateway.errors import GatewayRejected, GatewayUnavailable
from billing_worker.gateway.transport import call, get_client, make_v2_path
from billing_worker.gateway.types import MeterEventReport

if TYPE_CHECKING:
    import stripe
    from stripe.params.v2.billing import MeterEventStreamCreateParams, MeterEventStreamCreateParamsEvent

#: https://docs.stripe.com/api/v2/meter-event-streams/meter-event-sessions/create-async
MAX_STREAMED: Final = 100
#: A token is replaced so long before it ends: longer than a request may take.
RENEW_BEFORE: Final = timedelta(seconds=90)
_EXPIRED: Final = "billing_meter_event_session_expired"


@dataclass(frozen=True, slots=True)
class _Session:
    token: str
    good_until: float


class StreamSessions:
    """The tokens of this process, one for each client; shared by its threads, one of which renews it."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._sessions: WeakKeyDictionary[stripe.StripeClient, _Session] = WeakKeyDictionary()
        self._lock = threading.Lock()

    def get_token(self) -> str:
        """A token that is good for a while yet.

        Raises:
            GatewayError: Stripe gave none. `outcome_unknown` is never set: no event was on its way.
        """
        client = get_client()
        with self._lock:
            held = self._sessions.get(client)
            if held is None or self._clock() >= held.good_until:
                held = self._sessions[client] = self._open()
            return held.token

    def forget(self, token: str) -> None:
        """Stripe refused this token: the next caller gets another."""
        client = get_client()
        with self._lock:
            held = self._sessions.get(client)
            if held is not None and held.token == token:
                del self._sessions[client]

    def _open(self) -> _Session:
        started = self._clock()
        try:
            answer = call("post", make_v2_path("billing", "meter_event_session"))
        except GatewayUnavailable as error:
            raise GatewayUnavailable(str(error), outcome_unknown=False) from error
        # Its length by Stripe's clock, counted on ours: the two need not agree about the hour.
        lasts = datetime.fromisoformat(answer["expires_at"]) - datetime.fromisoformat(answer["created"])
        usable = max(lasts - RENEW_BEFORE, lasts / 2)
        return _Session(answer["authentication_token"], started + usable.total_seconds())


_sessions = StreamSessions()


def send_meter_events(batch: Sequence[MeterEventReport], *, sessions: StreamSessions = _sessions) -> None:
    """Report up to 100 events in one request. Stripe takes all of them or none, and checks them afterwards.

    Never repeated here, but for a token that Stripe calls expired: then nothing was taken.

    Raises:
        ValueError: there are more than 100, or none.
        GatewayRejected: the request as a whole is malformed; no event was taken.
        GatewayRateLimited: not accepted, send it again later.
        GatewayUnavailable: with `outcome_unknown`, any of the events may have been taken.
    """
    if not 0 < len(batch) <= MAX_STREAMED:
        raise ValueError(f"a request holds 1 to {MAX_STREAMED} meter events, not {len(batch)}")
    token = sessions.get_token()
    try:
        _post(batch, token)
    except GatewayRejected as error:
        if error.stripe_code != _EXPIRED:
            raise
        sessions.forget(token)
        _post(batch, sessions.get_token())


def _post(batch: Sequence[MeterEventReport], token: str) -> None:
    params: MeterEventStreamCreateParams = {"events": [_describe(report) for report in batch]}
    call("post", make_v2_path("billing", "meter_event_stream"), params, base="meter_events", token=token)


def _describe(report: MeterEventReport) -> MeterEventStreamCreateParamsEvent:
    return {
        "event_name": report.event_name,
        "payload": {"stripe_customer_id": report.customer, "value": str(report.value)},
        "identifier": report.identifier,
        "timestamp": report.at.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
    }
