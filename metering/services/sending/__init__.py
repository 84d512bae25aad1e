"""Sending meter events: claim and commit, call, settle; look before anything is sent again."""

from metering.services.sending.attempts import EventCall, MeterPort, Outcome, OutcomeKind, StripeMeterPort
from metering.services.sending.run import SenderOptions, SendResult, drain_meter_events, send_batch

__all__ = [
    "EventCall",
    "MeterPort",
    "Outcome",
    "OutcomeKind",
    "SendResult",
    "SenderOptions",
    "StripeMeterPort",
    "drain_meter_events",
    "send_batch",
]
