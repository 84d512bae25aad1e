"""One call to Stripe and what it meant. No database here: this runs in threads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from time import monotonic
from typing import Protocol

from billing_worker import gateway
from metering.services.sending.limits import CircuitBreaker, RateLimiter

#: Stripe's codes for a timestamp outside its window.
TOO_OLD = "timestamp_too_far_in_past"
AHEAD = "timestamp_in_future"
_MISCONFIGURED = (401, 403)


@dataclass(frozen=True, slots=True, kw_only=True)
class EventCall:
    """A claimed meter event, as a thread needs it. `is_repeat`: an earlier call may have reached Stripe."""

    pk: int
    lane_id: int
    identifier: str
    event_name: str
    customer: str
    value: int
    at: datetime
    attempts: int
    is_repeat: bool


class OutcomeKind(StrEnum):
    SENT = "sent"
    RETRY = "retry"  # Stripe did not take it now; nothing happened
    UNRESOLVED = "unresolved"  # nobody knows yet
    FOREIGN = "foreign"  # refused: somebody else used the identifier
    REJECTED = "rejected"
    EXPIRED = "expired"
    RELEASED = "released"  # not attempted


@dataclass(frozen=True, slots=True)
class Outcome:
    call: EventCall
    kind: OutcomeKind
    reason: str = ""


class MeterPort(Protocol):
    """What the sender needs of Stripe. Errors are the gateway's."""

    #: How many events `send_many` takes in one request; 1 means that `send` is used.
    batch: int

    def send(self, call: EventCall) -> None:
        """Report one event, once."""

    def send_many(self, calls: Sequence[EventCall]) -> None:
        """Report up to `batch` events in one request, which is taken whole or not at all."""

    def get_total(self, *, event_name: str, customer: str, start_at: datetime, end_at: datetime) -> int:
        """What the customer's meter holds for `[start_at, end_at)`."""


class StripeMeterPort:
    """Stripe's meter events of API v1. `meters` maps event names to Stripe's meter ids."""

    batch = 1

    def __init__(self, meters: dict[str, str]) -> None:
        self._meters = meters

    def send(self, call: EventCall) -> None:
        gateway.send_meter_event(
            event_name=call.event_name,
            customer=call.customer,
            value=call.value,
            identifier=call.identifier,
            at=call.at,
        )

    def send_many(self, calls: Sequence[EventCall]) -> None:
        for call in calls:
            self.send(call)

    def get_total(self, *, event_name: str, customer: str, start_at: datetime, end_at: datetime) -> int:
        summaries = gateway.list_meter_event_summaries(
            meter=self._meters[event_name], customer=customer, start_at=start_at, end_at=end_at
        )
        return sum(summary.value for summary in summaries)


class StripeStreamPort(StripeMeterPort):
    """The meter event stream of API v2. Stripe checks the events after its answer and reports what is wrong later."""

    batch = gateway.MAX_STREAMED

    def send(self, call: EventCall) -> None:
        self.send_many([call])

    def send_many(self, calls: Sequence[EventCall]) -> None:
        gateway.send_meter_events(
            [
                gateway.MeterEventReport(
                    event_name=call.event_name,
                    customer=call.customer,
                    value=call.value,
                    identifier=call.identifier,
                    at=call.at,
                )
                for call in calls
            ]
        )


def send_lane(
    calls: Sequence[EventCall],
    *,
    port: MeterPort,
    limiter: RateLimiter,
    breaker: CircuitBreaker,
    deadline: float,
) -> list[Outcome]:
    """Send one thread's share, whole lanes in order. At the first that fails for now, the rest is released.

    `deadline` (monotonic seconds) is when to start no further call, well before the lane's lease ends.
    """
    outcomes: list[Outcome] = []
    for position in range(0, len(calls), port.batch):
        if breaker.is_open or monotonic() >= deadline:
            reason = breaker.cause or "out of time, next run"
            return outcomes + [Outcome(rest, OutcomeKind.RELEASED, reason) for rest in calls[position:]]
        request = calls[position : position + port.batch]
        limiter.wait(len(request))
        answered = attempt_request(request, port=port, breaker=breaker)
        outcomes += answered
        if any(outcome.kind in (OutcomeKind.RETRY, OutcomeKind.UNRESOLVED) for outcome in answered):
            return outcomes + [
                Outcome(rest, OutcomeKind.RELEASED, "behind one that failed")
                for rest in calls[position + port.batch :]
            ]
    return outcomes


def attempt_request(calls: Sequence[EventCall], *, port: MeterPort, breaker: CircuitBreaker) -> list[Outcome]:
    """Make one request for these events. An unknown outcome of a request is an unknown outcome of each of them.

    A request that is refused as a whole is made again event by event, so that a bad one costs no other.
    """
    if len(calls) == 1:
        return [attempt(calls[0], port=port, breaker=breaker)]
    outcome = _attempt(calls[0], lambda: port.send_many(calls), breaker)
    if outcome.kind not in (OutcomeKind.REJECTED, OutcomeKind.FOREIGN, OutcomeKind.EXPIRED):
        return [Outcome(call, outcome.kind, outcome.reason) for call in calls]
    singly: list[Outcome] = []
    for position, call in enumerate(calls):
        singly.append(attempt(call, port=port, breaker=breaker))
        if singly[-1].kind in (OutcomeKind.RETRY, OutcomeKind.UNRESOLVED):
            rest = calls[position + 1 :]
            return singly + [Outcome(r, OutcomeKind.RELEASED, "behind one that failed") for r in rest]
    return singly


def attempt(call: EventCall, *, port: MeterPort, breaker: CircuitBreaker) -> Outcome:
    """Make the call and say what it meant; only programming errors propagate."""
    return _attempt(call, lambda: port.send(call), breaker)


def _attempt(call: EventCall, send: Callable[[], None], breaker: CircuitBreaker) -> Outcome:
    try:
        send()
    except gateway.DuplicateMeterEvent as error:
        breaker.succeed()
        if call.is_repeat:
            return Outcome(call, OutcomeKind.SENT, "Stripe already held it from an earlier attempt")
        # Not from us, as far as our records go: the summaries must tell what it holds.
        return Outcome(call, OutcomeKind.FOREIGN, f"identifier already used: {error}")
    except gateway.GatewayNotConfigured as error:
        breaker.fail(str(error), at_once=True)
        return Outcome(call, OutcomeKind.RELEASED, str(error))
    except gateway.GatewayRateLimited as error:
        return Outcome(call, OutcomeKind.RETRY, str(error))
    except gateway.GatewayUnavailable as error:
        breaker.fail(str(error))
        kind = OutcomeKind.UNRESOLVED if error.outcome_unknown else OutcomeKind.RETRY
        return Outcome(call, kind, str(error))
    except gateway.GatewayRejected as error:
        return _classify_refusal(call, error, breaker)
    breaker.succeed()
    return Outcome(call, OutcomeKind.SENT)


def _classify_refusal(call: EventCall, error: gateway.GatewayRejected, breaker: CircuitBreaker) -> Outcome:
    if error.status in _MISCONFIGURED:
        breaker.fail(str(error), at_once=True)
        return Outcome(call, OutcomeKind.RETRY, str(error))
    breaker.succeed()
    if error.stripe_code == TOO_OLD:
        return Outcome(call, OutcomeKind.EXPIRED, str(error))
    if error.stripe_code == AHEAD:
        return Outcome(call, OutcomeKind.RETRY, str(error))
    return Outcome(call, OutcomeKind.REJECTED, f"{error.stripe_code or error.status}: {error}")
