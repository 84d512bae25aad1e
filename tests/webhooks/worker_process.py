"""A process of its own for the tests with several: `python -m tests.webhooks.worker_process receive|drain`.

`receive` takes in the events of `make_events`. `drain` works the inbox off with one
receiver, whose effect is an audit entry: nothing keeps it from being written twice but the inbox.
"""

from __future__ import annotations

import os
import sys
import time
from datetime import timedelta
from typing import Any

EVENTS = 120
CUSTOMERS = 6
#: Instead of five minutes: what the killed worker holds is taken over while the test waits.
CLAIM_TIMEOUT = timedelta(seconds=3)


def make_events() -> list[dict[str, Any]]:
    """The same events, ids included, in every process."""
    from tests.mirror.samples import NOVEMBER, make_event, make_invoice, make_paid_invoice

    events = []
    for number in range(EVENTS):
        names = {"id": f"in_{number // 2}", "customer": f"cus_{number // 2 % CUSTOMERS}"}
        is_paid = number % 2
        content = make_paid_invoice(**names) if is_paid else make_invoice(**names)
        type_ = "invoice.paid" if is_paid else "invoice.finalized"
        events.append(make_event(type_, content, id=f"evt_{number}", created=NOVEMBER + number % 2))
    return events


def receive() -> None:
    import json

    from django.utils import timezone

    from billing_worker.webhooks.services import receive_event

    for event in make_events():
        receive_event(payload=event, text=json.dumps(event), now=timezone.now())


def drain() -> None:
    from billing_worker import gateway
    from billing_worker.accounts.audit import record_audit
    from billing_worker.webhooks import selectors
    from billing_worker.webhooks.registry import StripeEvent, receives
    from billing_worker.webhooks.tasks import drain_inbox
    from tests.mirror.samples import make_customer

    setattr(selectors, "CLAIM_TIMEOUT", CLAIM_TIMEOUT)  # noqa: B010 - a constant for everyone else
    setattr(gateway, "read_payload", lambda *, kind, id: make_customer(id=id))  # noqa: B010

    @receives("invoice.finalized", "invoice.paid")
    def write_effect(event: StripeEvent) -> None:
        record_audit(
            actor="test", action="test.effect", subject_type="event", subject_id=event.id, at=event.now
        )

    # Only against hanging: a busy machine may take its time.
    deadline = time.monotonic() + 1800
    while time.monotonic() < deadline and selectors.count_states()["processed"] < EVENTS:
        drain_inbox(seconds=5)
        time.sleep(0.1)


if __name__ == "__main__":
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
    import django

    django.setup()
    from billing_worker.webhooks import registry

    registry._receivers.clear()
    {"receive": receive, "drain": drain}[sys.argv[1]]()
