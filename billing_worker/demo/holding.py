"""One draft of the month waits for late usage: the worker holds it until its sender declares the month complete."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import requests

from billing_worker.demo.place import DemoError

if TYPE_CHECKING:
    from billing_worker.demo.story import Scene

#: For what a worker does after a kick, on a machine that is busy otherwise.
WAIT_SECONDS: Final = 600


def list_accounts() -> list[int]:
    """Every account that may declare a month complete."""
    from billing_worker.accounts.models import Account

    return list(Account.objects.order_by("pk").values_list("pk", flat=True))


def choose_late_account(scene: Scene) -> int:
    """The first account of cohort 2 that pays for itself alone and used something."""
    from billing_worker.accounts.models import Account

    used = {int(record["account_id"]) for record in scene.usage if record["quantity"]}
    alone = Account.objects.filter(
        pk__in=used, cohort_members__cohort__name="cohort-2", stripe_customer_id__isnull=False,
        children__isnull=True, parent__isnull=True, status="active",
    )  # fmt: skip
    return alone.order_by("pk").values_list("pk", flat=True)[0]


def declare(scene: Scene, account_ids: list[int]) -> None:
    """`POST /usage/completions`, as a sender does it.

    Raises:
        DemoError: it was refused.
    """
    answer = requests.post(
        f"{scene.web_url}/usage/completions",
        json={"period": scene.place.period, "account_ids": account_ids},
        headers={"Authorization": f"Api-Key {scene.service_key}"},
        timeout=300,
    )
    if not answer.ok:
        raise DemoError(f"POST /usage/completions answers {answer.status_code}: {answer.text[:200]}")


def hold_one(scene: Scene) -> str:
    """Ten minutes over the month's end Stripe has made the late account's draft, and the worker holds it."""
    from billing_worker.accounts.models import Account
    from billing_worker.core.periods import Period
    from cohorts.services import advance_clocks

    late = choose_late_account(scene)
    clock = Account.objects.get(pk=late).test_clock
    if clock is None:
        raise DemoError(f"account {late} is on no test clock")
    to = Period.parse(scene.place.period).end_at + timedelta(minutes=10)
    advance_clocks(clocks=[clock], to=to, track=iter)
    _wait(scene, lambda: _get_state(scene, late) == "held", f"the draft of account {late} was not held")
    return f"account {late}: its sender has not declared the month complete"


def release_one(scene: Scene) -> str:
    """Within Stripe's hour the draft is given back to Stripe, which finalizes it when its time comes."""
    late = choose_late_account(scene)
    declare(scene, [late])
    _wait(scene, lambda: _get_state(scene, late) == "released", f"the draft of account {late} was not let go")
    return f"account {late}: complete, Stripe finalizes its draft"


def _get_state(scene: Scene, account_id: int) -> str:
    from metering.models import DraftHold

    hold = DraftHold.objects.filter(account=account_id, period=scene.place.period).first()
    return hold.state if hold else ""


def _wait(scene: Scene, condition: Callable[[], bool], failure: str) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while not condition():
        scene.processes.require_alive()
        if time.monotonic() > deadline:
            raise DemoError(f"{failure} within {WAIT_SECONDS} s")
        time.sleep(0.1)
