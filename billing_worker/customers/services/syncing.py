"""Bring customers at Stripe in step with their accounts: read, compare, write what is ours, read again."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, Literal

from billing_worker import gateway
from billing_worker.alerts.services import raise_alert, resolve_alert
from billing_worker.alerts.states import Severity
from billing_worker.core.errors import BillingError, Conflict
from billing_worker.customers.comparing import Order, compute_order
from billing_worker.customers.models import CustomerSync
from billing_worker.customers.selectors import build_unfollowed, list_due, list_followed
from billing_worker.customers.services.claims import (
    Claim,
    LostClaim,
    keep_claim,
    read_claimed,
    release_claim,
    take_claim,
)
from billing_worker.customers.services.outcome import Look, describe_order, settle_alerts, settle_row
from billing_worker.customers.services.writing import remember_look, take_step
from billing_worker.customers.states import SYNC_FAILED, SyncState, Verdict
from billing_worker.customers.wanted import build_wanted, describe_customer

#: Looks in one go. Values, tax id, deletions and the last look are four; the rest is for changes that come meanwhile.
_MAX_LOOKS: Final = 10
#: After so many customers in a row that Stripe did not answer for, the others wait for the next run.
_GIVE_UP_AFTER: Final = 3
#: The alert's subject for what is nobody's in particular.
STRIPE: Final = "Stripe"

Outcome = Literal["unchanged", "changed", "planned", "differs", "waiting", "refused", "failed"]


class WrongCustomer(Conflict):
    """The customer at Stripe is deleted, or says that it is another account's. Nothing is written; find out why."""

    code = "wrong_customer"


class NotInStep(Conflict):
    """Customer and account kept changing, or Stripe does not keep what it takes. The next run tries again."""

    code = "not_in_step"


@dataclass(frozen=True, slots=True)
class SyncResult:
    """What became of one customer. `planned` only on a dry run; `differs` and `refused` are for a person."""

    account_id: int
    outcome: Outcome
    detail: str = ""


def sync_customers(
    *,
    now: datetime,
    actor: str,
    account_ids: Collection[int] | None = None,
    only_due: bool = False,
    is_dry_run: bool = False,
    overwrite: Collection[str] = (),
    track: Callable[[list[CustomerSync]], Iterable[CustomerSync]] = iter,
) -> list[SyncResult]:
    """Look at every followed customer (`only_due`: at those with a reason, see `list_due`) and bring it in step.

    Safe to repeat, to interrupt and to run twice at once: longest unread customers come first, so a repeat goes on
    where it stopped. One customer's trouble is alerted and keeps nobody else; when Stripe does not answer at all, the
    rest waits. A dry run also looks at accounts that are not followed yet. Not to be called in a transaction.

    Raises:
        GatewayNotConfigured: there is no key.
    """
    _require_key()
    rows = list_due(now=now, account_ids=account_ids) if only_due else list(list_followed(account_ids))
    if is_dry_run and account_ids is not None:
        rows += build_unfollowed(account_ids)
    results: list[SyncResult] = []
    repeated: list[SyncResult] = []
    silent = 0
    for row in track(rows):
        if silent >= _GIVE_UP_AFTER:
            results.append(SyncResult(row.account_id, "waiting", "Stripe does not answer"))
            continue
        result, is_silent = _sync_row(
            row, actor=actor, now=now, overwrite=overwrite, is_dry_run=is_dry_run, asks_again=False
        )
        results.append(result)
        silent = silent + 1 if is_silent else 0
        if is_silent and row.state == SyncState.FAILED:
            repeated.append(result)
    if not is_dry_run:
        _alert_silence(results, repeated, is_silent=silent >= _GIVE_UP_AFTER, now=now)
    return results


def sync_account(
    *,
    account_id: int,
    actor: str,
    now: datetime,
    overwrite: Collection[str] = (),
    asks_again: bool = False,
) -> SyncResult:
    """`sync_customers` for one account. `asks_again`: also for what Stripe refused before.

    An account that is not provisioned, or bills through another, has nothing of its own at Stripe: `unchanged`.

    Raises:
        GatewayNotConfigured: there is no key.
    """
    _require_key()
    row = CustomerSync.objects.select_related("account").filter(account_id=account_id).first()
    if row is None:
        return SyncResult(account_id, "unchanged", "it has no customer of its own that was provisioned")
    result, is_silent = _sync_row(
        row, actor=actor, now=now, overwrite=overwrite, is_dry_run=False, asks_again=asks_again
    )
    if is_silent and row.state == SyncState.FAILED:
        _alert_failure(result, now=now)
    return result


def _require_key() -> None:
    if not gateway.is_configured():
        raise gateway.GatewayNotConfigured(
            "customers can't be read without STRIPE_SECRET_KEY: set it and try again"
        )


def _sync_row(
    row: CustomerSync,
    *,
    actor: str,
    now: datetime,
    overwrite: Collection[str],
    is_dry_run: bool,
    asks_again: bool,
) -> tuple[SyncResult, bool]:
    """The result, and whether Stripe did not answer."""
    if is_dry_run:
        return _plan(row, overwrite=overwrite)
    claim = take_claim(row.pk)
    if claim is None:
        return SyncResult(row.account_id, "waiting", "another worker is at it"), False
    try:
        return _work(claim, actor=actor, now=now, overwrite=overwrite, asks_again=asks_again), False
    except LostClaim:
        return SyncResult(row.account_id, "waiting", "another worker took it over"), False
    except BillingError as error:
        is_silent = isinstance(error, (gateway.GatewayUnavailable, gateway.GatewayRateLimited))
        _note_failure(claim, row, error, is_silent=is_silent, now=now)
        return SyncResult(row.account_id, "failed", str(error)), is_silent
    except Exception:
        release_claim(claim, is_final=True, told_at=now)
        raise


def _plan(row: CustomerSync, *, overwrite: Collection[str]) -> tuple[SyncResult, bool]:
    """What a run would do, from a fresh read, and without writing here or there."""
    try:
        look = _look(row, overwrite=overwrite, asks_again=False)
    except BillingError as error:
        return SyncResult(row.account_id, "failed", str(error)), isinstance(error, gateway.GatewayUnavailable)
    detail = describe_order(look)
    if not look.is_done:
        return SyncResult(row.account_id, "planned", detail), False
    return SyncResult(row.account_id, _name_outcome(look.order, has_changed=False), detail), False


def _work(
    claim: Claim, *, actor: str, now: datetime, overwrite: Collection[str], asks_again: bool
) -> SyncResult:
    """Look and take one step, until nothing is left and nobody came meanwhile."""
    written: list[str] = []
    for number in range(_MAX_LOOKS):
        row = read_claimed(claim)
        look = _look(row, overwrite=overwrite, asks_again=asks_again and number == 0)
        keep_claim(claim, **remember_look(row, look, now=now))
        if look.is_done:
            settle_alerts(row, look, now=now)
            if release_claim(claim, **settle_row(look, now=now)):
                outcome = _name_outcome(look.order, has_changed=bool(written))
                said = [*written, describe_order(look)]
                return SyncResult(row.account_id, outcome, "; ".join(part for part in said if part))
            continue
        row.refresh_from_db()
        if step := take_step(claim, row, look, number=number, actor=actor, now=now):
            written.append(step)
    raise NotInStep(f"after {_MAX_LOOKS} looks the customer is still not in step: {'; '.join(written)}")


def _look(row: CustomerSync, *, overwrite: Collection[str], asks_again: bool) -> Look:
    """Account and customer as both are now, and what is to be done."""
    account = row.account
    customer = gateway.get_customer(account.stripe_customer_id or "", with_tax_ids=True)
    if customer.is_deleted:
        raise WrongCustomer(f"customer {customer.id} of account {account.pk} was deleted at Stripe")
    owner = customer.metadata.get("account_id", "")
    if owner not in ("", str(account.pk)):
        raise WrongCustomer(
            f"customer {customer.id} of account {account.pk} says at Stripe that it is account {owner}'s"
        )
    wanted, held = build_wanted(account), describe_customer(customer)
    memory = replace(row.memory, refused={}) if asks_again else row.memory
    order = compute_order(wanted, held, memory, overwrite=overwrite)
    return Look(account=account, customer=customer, wanted=wanted, held=held, order=order)


def _name_outcome(order: Order, *, has_changed: bool) -> Outcome:
    if order.list(Verdict.REFUSED):
        return "refused"
    if order.list(Verdict.THEIRS):
        return "differs"
    return "changed" if has_changed else "unchanged"


def _note_failure(
    claim: Claim, row: CustomerSync, error: BillingError, *, is_silent: bool, now: datetime
) -> None:
    """Silence is alerted by whoever knows whether it is about this customer: the second time, or never in an outage."""
    release_claim(claim, is_final=True, state=SyncState.FAILED, error=str(error)[:500])
    if not is_silent:
        _alert_failure(SyncResult(row.account_id, "failed", str(error)), now=now)


def _alert_failure(result: SyncResult, *, now: datetime) -> None:
    raise_alert(
        name=SYNC_FAILED, severity=Severity.WARNING, subject=f"account {result.account_id}", detail=result.detail,
        now=now, context={"account": result.account_id},
    )  # fmt: skip


def _alert_silence(
    results: list[SyncResult], repeated: list[SyncResult], *, is_silent: bool, now: datetime
) -> None:
    """One alert for an outage, not one for each customer; else one for each that failed before, too."""
    if is_silent:
        waiting = sum(result.outcome == "waiting" for result in results)
        raise_alert(
            name=SYNC_FAILED, severity=Severity.WARNING, subject=STRIPE, now=now,
            detail=f"Stripe does not answer; {waiting} customers wait for the next run",
        )  # fmt: skip
        return
    for result in repeated:
        _alert_failure(result, now=now)
    if results:
        resolve_alert(name=SYNC_FAILED, subject=STRIPE, now=now)
