"""The edge where services meet the environment: what the settings say, as the arguments that services take."""

from __future__ import annotations

from datetime import timedelta

from django.conf import settings

from billing_worker.catalog.models import CatalogMeter
from metering.services.seam import Seam
from metering.services.sending import SenderOptions, StripeMeterPort, StripeStreamPort


def get_seam() -> Seam:
    """`SHADOW` and `BILL_FROM`: the default for accounts without a seam of their own."""
    return Seam(shadow=settings.ENV.SHADOW, bill_from=settings.ENV.BILL_FROM)


def get_grace() -> timedelta:
    """How long after its end a bucket stays open for late statements."""
    return timedelta(minutes=settings.ENV.USAGE_GRACE_MINUTES)


def get_sender_options(
    *, patience: timedelta = timedelta(0), lease: timedelta | None = None
) -> SenderOptions:
    """`lease` None: two minutes, or as long as calls with a great time-out need."""
    timeout = timedelta(seconds=settings.ENV.STRIPE_TIMEOUT_SECONDS)
    return SenderOptions(
        per_second=settings.ENV.METER_EVENTS_PER_SECOND,
        call_timeout=timeout,
        patience=patience,
        lease=lease or max(timedelta(seconds=120), 3 * (timeout + timedelta(seconds=15))),
    )


def get_port() -> StripeMeterPort:
    """Stripe by the transport of the settings, with the meters that the catalog created."""
    port = StripeStreamPort if settings.ENV.METER_EVENTS_TRANSPORT == "v2" else StripeMeterPort
    return port(dict(CatalogMeter.objects.values_list("event_name", "stripe_meter_id")))
