"""Who listens to which Stripe event.

    @receives("invoice.finalized", "invoice.paid")
    def note_invoice(event: StripeEvent) -> None: ...

Receivers live in `<app>/receivers.py`, which the app imports when it is ready. They run in the worker, after our
mirror is up to date, inside one transaction with the event's inbox row locked: they write rows (outbox style, unique
on business identity) and `on_commit` the next step. They never call the network. One that raises rolls all of them
back and the event is tried again, so every receiver must be safe to run twice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class StripeEvent:
    """One event as Stripe told it. `object` is the object as it was then: read the mirror for how it is now.

    `created_at` is Stripe's time (the test clock's, if the object lives on one); `now` is ours. `kept` is what one
    receiver has read for the others (`reading.py`): all of them run in one transaction.
    """

    id: str
    type: str
    created_at: datetime
    object: Mapping[str, Any]
    previous_attributes: Mapping[str, Any]
    customer: str | None
    now: datetime
    kept: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)


Receiver = Callable[[StripeEvent], None]

_receivers: dict[str, list[Receiver]] = {}


def receives(*types: str) -> Callable[[Receiver], Receiver]:
    """Register a function for these event types. Each must be one that the inbox takes.

    Raises:
        ValueError: a type that the inbox does not take (a typing error, or `TAKEN_TYPES` lacks it).
    """
    for name in types:
        if not is_taken(name):
            raise ValueError(
                f"no inbox takes the event type {name!r}: see billing_worker/webhooks/registry.py"
            )

    def register(receiver: Receiver) -> Receiver:
        for name in types:
            listeners = _receivers.setdefault(name, [])
            if receiver not in listeners:
                listeners.append(receiver)
        return receiver

    return register


def get_receivers(type_: str) -> tuple[Receiver, ...]:
    """The receivers of a type in the order of registration."""
    return tuple(_receivers.get(type_, ()))


#: Event types that are processed. Others are acknowledged, kept as ignored, and counted.
TAKEN_TYPES = frozenset(
    (
        *(
            f"invoice.{verb}"
            for verb in (
                "created", "updated", "finalized", "paid", "payment_failed", "voided", "marked_uncollectible",
            )
        ),
        *(f"customer.subscription.{verb}" for verb in ("created", "updated", "deleted", "trial_will_end")),
        *(f"credit_note.{verb}" for verb in ("created", "updated", "voided")),
        "checkout.session.completed",
        # Stripe's later word on meter events that it had accepted: without these, refused usage goes unseen.
        "v1.billing.meter.error_report_triggered",
        "v1.billing.meter.no_meter_found",
    )
)  # fmt: skip
TAKEN_PREFIXES = ("customer.", "product.", "price.")


def is_taken(type_: str) -> bool:
    """True for the event types that the worker processes."""
    return type_ in TAKEN_TYPES or type_.startswith(TAKEN_PREFIXES)


def list_subscribed_types() -> list[str]:
    """What to ask Stripe for when an endpoint is registered: every snapshot type that is taken, by name.

    Stripe's endpoints take no wildcards but `*`, so the families are spelled out. Thin events need an event destination
    of their own in Stripe's dashboard.
    """
    families = [
        *(f"customer.{verb}" for verb in ("created", "updated", "deleted")),
        *(f"customer.tax_id.{verb}" for verb in ("created", "updated", "deleted")),
        *(f"{name}.{verb}" for name in ("product", "price") for verb in ("created", "updated", "deleted")),
    ]
    return sorted({*families, *(name for name in TAKEN_TYPES if not name.startswith("v1."))})
