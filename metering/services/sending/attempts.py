"""One call to Stripe and what it meant. No database here: this runs in threads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from time import monotonic
from typing import Protocol

from billing_worker import gateway
from metering.services.sending.limits import CircuitBreaker
from metering.services.sending.pacing import Pace

#: Stripe's codes for a timestamp outside its window.
TOO_OLD = "timestamp_too_far_in_past"
AHEAD = "timestamp_in_future"
_MISCONFIGURED = (401, 403)
OUT_OF_TIME = "out of time, next run"


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


#: After one of these nothing more is sent on the lane in this run.
_STOPPING = (OutcomeKind.RETRY, OutcomeKind.UNRESOLVED, OutcomeKind.RELEASED)


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


@dataclass(frozen=True, slots=True)
class Road:
    """What all calls of a run share. `deadline` (monotonic seconds) is when to start no further call: well before the
    leases end, whatever a call has to wait for."""

    port: MeterPort
    pace: Pace
    breaker: CircuitBreaker
    deadline: float

    def may_start(self, events: int) -> bool:
        """Wait for the turn of a request with so many events. False: the run is over, nothing more is started."""
        if self.breaker.is_open or monotonic() >= self.deadline:
            return False
        return self.pace.wait(events, deadline=self.deadline) and not self.breaker.is_open


def send_lane(calls: Sequence[EventCall], *, road: Road, size: int = 1) -> list[Outcome]:
    """Send one thread's share, whole lanes in order, `size` events in a request.

    At the first that fails for now, the rest is released.
    """
    outcomes: list[Outcome] = []
    for position in range(0, len(calls), size):
        request = calls[position : position + size]
        answered = attempt_request(request, road=road)
        outcomes += answered
        if any(outcome.kind in _STOPPING for outcome in answered):
            reason = _explain(answered, road)
            rest = calls[position + size :]
            return outcomes + [Outcome(call, OutcomeKind.RELEASED, reason) for call in rest]
    return outcomes


def attempt_request(calls: Sequence[EventCall], *, road: Road) -> list[Outcome]:
    """Make one request for these events. An unknown outcome of a request is an unknown outcome of each of them.

    A request that is refused as a whole is made again event by event, so that a bad one costs no other.
    """
    if len(calls) == 1:
        return [_attempt_in_turn(calls[0], road)]
    if not road.may_start(len(calls)):
        return [Outcome(call, OutcomeKind.RELEASED, road.breaker.cause or OUT_OF_TIME) for call in calls]
    # A refusal of the whole says nothing of one event: it is read as that of a first attempt, then each is asked for.
    whole = replace(calls[0], is_repeat=False)
    outcome = _attempt(whole, lambda: road.port.send_many(calls), road.breaker)
    if outcome.kind not in (OutcomeKind.REJECTED, OutcomeKind.FOREIGN, OutcomeKind.EXPIRED):
        return [Outcome(call, outcome.kind, outcome.reason) for call in calls]
    singly: list[Outcome] = []
    for position, call in enumerate(calls):
        singly.append(_attempt_in_turn(call, road))
        if singly[-1].kind in _STOPPING:
            reason = _explain(singly, road)
            return singly + [Outcome(r, OutcomeKind.RELEASED, reason) for r in calls[position + 1 :]]
    return singly


def _attempt_in_turn(call: EventCall, road: Road) -> Outcome:
    if not road.may_start(1):
        return Outcome(call, OutcomeKind.RELEASED, road.breaker.cause or OUT_OF_TIME)
    return attempt(call, port=road.port, breaker=road.breaker)


def _explain(answered: Sequence[Outcome], road: Road) -> str:
    """Why what comes after these is left to the next run."""
    if road.breaker.cause:
        return road.breaker.cause
    is_failure = any(outcome.kind is not OutcomeKind.RELEASED for outcome in answered[-1:])
    return "behind one that failed" if is_failure else OUT_OF_TIME


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
    if error.stripe_code == TOO_OLD and call.is_repeat:
        # The earlier call came in time and may have been counted: a true-up could bill it twice.
        return Outcome(call, OutcomeKind.UNRESOLVED, str(error))
    if error.stripe_code == TOO_OLD:
        return Outcome(call, OutcomeKind.EXPIRED, str(error))
    if error.stripe_code == AHEAD:
        return Outcome(call, OutcomeKind.RETRY, str(error))
    return Outcome(call, OutcomeKind.REJECTED, f"{error.stripe_code or error.status}: {error}")
