"""A worker on held drafts as a process of its own: `python -m tests.metering.hold_worker first|second FOLDER`.

Stripe is a folder: a file for each call that took effect, made so that a second one of the same name would fail loudly.
The two wait for each other so that both are at it when the first dies, however slow the machine is.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections import Counter
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import django

from tests.support.processes import wait_until

DRAFTS = 12
#: The call that the first worker dies of, after its effect and before it is written down.
DIES_AT = 4
#: The call before which the second one waits for that.
WAITS_AT = 5


class FolderStripe:
    """Drafts `in_0` to `in_11` that advance by themselves until told otherwise."""

    def __init__(self, folder: Path, drafted_at: datetime, role: str) -> None:
        self.folder, self.drafted_at, self.role, self.calls = folder, drafted_at, role, 0

    def get_invoice(self, invoice: str) -> Any:
        said = [name for name in ("False", "True") if (self.folder / f"{invoice}.{name}").exists()]
        return SimpleNamespace(
            status="draft",
            auto_advance=said != ["False"],
            created_at=self.drafted_at,
            finalized_at=None,
        )

    def set_auto_advance(self, invoice: str, enabled: bool) -> None:
        self.calls += 1
        signs = self.folder.parent
        if self.role == "second":
            (signs / "second-is-at-it").touch()
        if self.role == "first" and self.calls == DIES_AT:
            wait_until((signs / "second-is-at-it").exists, seconds=600)
        if self.role == "second" and self.calls == WAITS_AT:
            wait_until((signs / "first-is-dead").exists, seconds=600)
        with (self.folder / f"{invoice}.{enabled}").open("x"):  # FileExistsError: told twice
            pass
        if self.role == "first" and self.calls == DIES_AT:
            (signs / "first-is-dead").touch()
            os.kill(os.getpid(), signal.SIGKILL)


def main(role: str, folder: Path) -> None:
    from billing_worker import gateway
    from metering.draft_window.models import DraftHold
    from metering.draft_window.services import plan_hold
    from metering.draft_window.sweeping import sweep_holds
    from metering.draft_window.working import CLAIM_EXPIRES_AFTER
    from tests.metering.drafts import DRAFTED, NOW, POLICY, declare, make_account, make_draft

    stripe: Any = FolderStripe(folder, DRAFTED, role)
    gateway.get_invoice = stripe.get_invoice
    gateway.set_auto_advance = stripe.set_auto_advance
    if role == "first":
        for number in range(DRAFTS):
            account = make_account(id=5001 + number)
            draft = make_draft(
                account, stripe_invoice_id=f"in_{number}", line={"stripe_line_id": f"il_{number}"}
            )
            plan_hold(invoice=draft, policy=POLICY, now=NOW)
    print("ready", flush=True)
    sys.stdin.readline()
    sweep_holds(policy=POLICY, clock=lambda: NOW)
    # Only the second comes here. What the first had claimed is taken over once its claim is old.
    left = Counter(DraftHold.objects.values_list("state", flat=True))
    later = NOW + CLAIM_EXPIRES_AFTER
    sweep_holds(policy=POLICY, clock=lambda: later)
    held = Counter(DraftHold.objects.values_list("state", flat=True))
    declare()
    sweep_holds(policy=POLICY, clock=lambda: later)
    released = Counter(DraftHold.objects.values_list("state", flat=True))
    print(json.dumps([left, held, released]), flush=True)


if __name__ == "__main__":
    django.setup()
    main(sys.argv[1], Path(sys.argv[2]))
