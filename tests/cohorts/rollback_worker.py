"""A worker on a rollback as a process of its own: `python -m tests.cohorts.rollback_worker first|second FOLDER`.

Stripe is a folder: a file for each idempotency key, and one for each subscription with the instant at which it ends.
The two wait for each other so that both are at it when the first dies, however slow the machine is.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import django

from tests.support.processes import wait_until

PAYERS = 12
NOW = datetime(2026, 11, 20, 9, tzinfo=UTC)
TURN = datetime(2026, 12, 1, tzinfo=UTC)
#: The call that the first worker dies of, after its effect and before it is written down.
DIES_AT = 4
#: The call before which the second one waits for that.
WAITS_AT = 5


class FolderStripe:
    """Subscriptions `sub_0` to `sub_11`, in November."""

    def __init__(self, folder: Path, role: str) -> None:
        self.folder, self.role, self.calls = folder, role, 0

    def get_subscription(self, subscription: str) -> Any:
        end = self.folder / subscription
        return SimpleNamespace(
            items=(SimpleNamespace(period_end=TURN),),
            ended_at=None,
            cancel_at=datetime.fromisoformat(end.read_text()) if end.exists() else None,
        )

    def change_subscription(
        self, subscription: str, *, cancel_at: datetime, idempotency_key: str, **_: Any
    ) -> Any:
        self.calls += 1
        signs = self.folder.parent
        if self.role == "second":
            (signs / "second-is-at-it").touch()
        if self.role == "first" and self.calls == DIES_AT:
            wait_until((signs / "second-is-at-it").exists, seconds=600)
        if self.role == "second" and self.calls == WAITS_AT:
            wait_until((signs / "first-is-dead").exists, seconds=600)
        (self.folder / idempotency_key).touch()
        (self.folder / subscription).write_text(cancel_at.isoformat())
        if self.role == "first" and self.calls == DIES_AT:
            (signs / "first-is-dead").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return self.get_subscription(subscription)


def prepare() -> int:
    """A cohort in its dual run with its rollback decided; answers the rollback's id."""
    from billing_worker.core.periods import Period
    from cohorts.models import Cohort, CohortMember
    from cohorts.services import request_rollback
    from tests.factories import BillingLeaseFactory, CustomerAccountFactory

    cohort = Cohort.objects.create(
        name="c", state="dual_run", dual_run_period="2026-11", created_at=NOW, ready_at=NOW, dual_run_at=NOW
    )
    for number in range(PAYERS):
        account = CustomerAccountFactory.create(id=5001 + number)
        for month in ("2026-11", "2026-12"):
            BillingLeaseFactory.create(account=account, period=month)
        CohortMember.objects.create(
            cohort=cohort, account=account, provisioning="provisioned", provisioned_at=NOW,
            stripe_subscription_id=f"sub_{number}",
        )  # fmt: skip
    return request_rollback(
        cohort_id=cohort.pk, period=Period(2026, 12), reason="drift", actor="test", now=NOW
    ).pk


def main(role: str, folder: Path) -> None:
    from billing_worker import gateway
    from billing_worker.accounts.models import AuditEntry, BillingLease
    from cohorts.models import Rollback, RollbackStep, SubscriptionChange
    from cohorts.services import settle_rollback

    stripe: Any = FolderStripe(folder, role)
    gateway.get_subscription = stripe.get_subscription
    gateway.change_subscription = stripe.change_subscription
    if role == "first":
        prepare()
    print("ready", flush=True)
    sys.stdin.readline()
    results = settle_rollback(rollback_id=Rollback.objects.get().pk, actor=role, now=NOW)
    # Only the second comes here.
    leases = BillingLease.objects.values_list("period", "biller")
    said = {
        "outcomes": sorted({result.outcome for result in results}),
        "rollback": Rollback.objects.get().state,
        "steps": Counter(RollbackStep.objects.values_list("state", flat=True)),
        "changes": Counter(f"{n} {s}" for n, s in SubscriptionChange.objects.values_list("number", "state")),
        "leases": Counter(f"{month} {biller}" for month, biller in leases),
        "audited": AuditEntry.objects.filter(action="lease.biller_set").count(),
    }
    print(json.dumps(said), flush=True)


if __name__ == "__main__":
    django.setup()
    main(sys.argv[1], Path(sys.argv[2]))
