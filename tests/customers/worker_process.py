"""A process of its own for the tests with several: `python -m tests.customers.worker_process prepare|sync`."""

from __future__ import annotations

import os
import sys
import time
from datetime import timedelta

ACCOUNTS = 10
#: Instead of a quarter of an hour: what the killed worker holds is taken over while the test waits. A worker that is
#: slower than this is taken for dead although it lives, which must do no harm either.
CLAIM_LIVES = timedelta(seconds=3)


def prepare() -> None:
    """Accounts with customers, whose name and tax id have changed since."""
    from tests.customers.world import change, provision

    for number in range(ACCOUNTS):
        account = provision(id=5001 + number)
        change(account, name=f"Neu {account.pk}", tax_id_value=f"DE9876543{number:02}"[:11])


def sync() -> None:
    from django.utils import timezone

    from billing_worker.customers.models import CustomerSync
    from billing_worker.customers.services import claims, sync_customers

    setattr(claims, "CLAIM_LIVES", CLAIM_LIVES)  # noqa: B010 - a constant for everyone else
    # Only against hanging: a busy machine may take its time.
    deadline = time.monotonic() + 1800
    while time.monotonic() < deadline and CustomerSync.objects.exclude(state="synced").exists():
        sync_customers(actor="test", now=timezone.now(), only_due=True)
        time.sleep(0.1)


if __name__ == "__main__":
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.metering.process_settings"
    import django

    django.setup()
    {"prepare": prepare, "sync": sync}[sys.argv[1]]()
