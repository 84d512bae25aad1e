"""What the settings say about parity, as the arguments that services take."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from django.conf import settings
from django.utils import timezone

from billing_worker.core.errors import InvalidInput, Unavailable
from metering.parity.comparison import Tolerances
from metering.parity.sources import DailyParitySource, HttpParitySource, ParitySource

HTTP: Final = "http"
REDSHIFT: Final = "redshift"


class ParityNotConfigured(Unavailable):
    """No secret is shared with the other side. Set PARITY_SECRET on both."""

    code = "parity_not_configured"


def get_secrets() -> list[str]:
    """The shared secrets, newest first.

    Raises:
        ParityNotConfigured: there are none.
    """
    secrets = [secret.get_secret_value() for secret in settings.ENV.PARITY_SECRET]
    if not secrets:
        raise ParityNotConfigured("parity is not set up here: set PARITY_SECRET")
    return secrets


def get_tolerances() -> Tolerances:
    return Tolerances.parse(settings.ENV.PARITY_TOLERANCE)


def get_settle() -> timedelta:
    """How long after its end a day is compared."""
    return timedelta(hours=settings.ENV.PARITY_SETTLE_HOURS)


@dataclass(frozen=True, slots=True, kw_only=True)
class CleanDemand:
    """How long parity must have been clean before a cohort may be signed for, and with whom it is compared."""

    source: str
    hours: int


def get_clean_demand() -> CleanDemand | None:
    """What the gate asks of parity; None where nothing is compared (no `PARITY_SOURCE`)."""
    if settings.ENV.PARITY_SOURCE is None:
        return None
    return CleanDemand(source=settings.ENV.PARITY_SOURCE, hours=settings.ENV.PARITY_CLEAN_HOURS)


@contextmanager
def open_source(name: str) -> Iterator[ParitySource]:
    """The other side as the settings name it.

    Raises:
        InvalidInput: its address is not set.
        ParityNotConfigured: there is no secret to ask it with.
    """
    if name == HTTP:
        if not settings.ENV.PARITY_URL:
            raise InvalidInput(
                "the other side has no address: set PARITY_URL, or compare with a file (--file PATH)"
            )
        yield HttpParitySource(url=settings.ENV.PARITY_URL, secret=get_secrets()[0], clock=timezone.now)
        return
    if not settings.ENV.REDSHIFT_DATABASE_URL:
        raise InvalidInput(
            "there is no warehouse: set REDSHIFT_DATABASE_URL, or compare with a file (--file PATH)"
        )
    # PostgreSQL's driver is 9 MB of a process: only of one that has compared with the warehouse.
    from metering.pulling.redshift import RedshiftSource

    with RedshiftSource(settings.ENV.REDSHIFT_DATABASE_URL) as source:
        yield DailyParitySource(source)
