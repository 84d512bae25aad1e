"""Sending meter events: claim and commit, call, settle; look before anything is sent again."""

from metering.services.sending.attempts import (
    EventCall,
    MeterPort,
    Outcome,
    OutcomeKind,
    StripeMeterPort,
    StripeStreamPort,
)
from metering.services.sending.run import SenderOptions, SendResult, drain_meter_events, send_batch

__all__ = [
    "EventCall",
    "MeterPort",
    "Outcome",
    "OutcomeKind",
    "SendResult",
    "SenderOptions",
    "StripeMeterPort",
    "StripeStreamPort",
    "drain_meter_events",
    "send_batch",
]
