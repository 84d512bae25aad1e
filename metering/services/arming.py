"""Changing the seam of accounts: either switch alone or both, and the waiting events brought to it at once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from functools import partial
from typing import Literal

from django.db import transaction

from billing_worker.accounts.models import Account
from billing_worker.core.errors import Conflict
from billing_worker.core.periods import Period, to_utc
from metering.models import SeamSetting, UsageFeed
from metering.services.ingest import retry_busy
from metering.services.seam import Alignment, Seam, align_with_seam, count_beyond_seam, remove_seam, set_seam
from metering.states import Granularity


class Keep(Enum):
    """The switch stays as it is: the account's own value, or the environment's if it has none."""

    KEEP = "keep"


KEEP: Literal[Keep.KEEP] = Keep.KEEP


class InsideBucket(Conflict):
    """BILL_FROM would cut a bucket in two: this account tells the month in one figure. Choose the first of a month."""

    code = "inside_bucket"


@dataclass(frozen=True, slots=True, kw_only=True)
class SeamChange:
    """What a change did: accounts set, events armed and put back into shadow.

    `too_late` counts events of these accounts that went out before (or may have), and would be in shadow now.
    """

    accounts: int
    armed: int
    disarmed: int
    too_late: int


def change_seam(
    *,
    account_ids: Collection[int],
    default: Seam,
    shadow: bool | Literal[Keep.KEEP] = KEEP,
    bill_from: datetime | Literal[Keep.KEEP] | None = KEEP,
    actor: str,
    reason: str,
    now: datetime,
) -> SeamChange:
    """Set one switch or both for these accounts, all or none, then bring their events to the rule.

    `bill_from` None means from the start. Opens its own transactions: first the settings with their audit entries,
    then each account's events. Killed between the two, the next roll-up or run of the sender does the second.

    Raises:
        InvalidInput: no reason, an unknown account, or `bill_from` is not midnight UTC.
        InsideBucket: an account tells the month of `bill_from` in one figure, and it isn't the month's first day.
    """
    wanted = sorted(set(account_ids))
    retry_busy(partial(_store, wanted, default, shadow, bill_from, actor, reason, now))
    moved = [retry_busy(partial(_align, default, account_id)) for account_id in wanted]
    return SeamChange(
        accounts=len(wanted),
        armed=sum(part.armed for part in moved),
        disarmed=sum(part.disarmed for part in moved),
        too_late=count_beyond_seam(seam=default, account_ids=wanted),
    )


def reset_seam(
    *, account_ids: Collection[int], default: Seam, actor: str, reason: str, now: datetime
) -> SeamChange:
    """Remove these accounts' own settings, so that the environment's default holds, and bring their events to it.

    Each removal is in the audit trail with what was held. `accounts` counts those that had a setting. Opens its own
    transactions, as `change_seam` does.

    Raises:
        InvalidInput: no reason, or an unknown account.
    """
    wanted = sorted(set(account_ids))
    removed = retry_busy(partial(remove_seam, account_ids=wanted, actor=actor, reason=reason, now=now))
    moved = [retry_busy(partial(_align, default, account_id)) for account_id in wanted]
    return SeamChange(
        accounts=removed,
        armed=sum(part.armed for part in moved),
        disarmed=sum(part.disarmed for part in moved),
        too_late=count_beyond_seam(seam=default, account_ids=wanted),
    )


@transaction.atomic
def _store(
    account_ids: list[int],
    default: Seam,
    shadow: bool | Literal[Keep.KEEP],
    bill_from: datetime | Literal[Keep.KEEP] | None,
    actor: str,
    reason: str,
    now: datetime,
) -> None:
    # The accounts and not their settings are locked: a setting that isn't there yet can't be.
    list(Account.objects.select_for_update().filter(pk__in=account_ids).order_by("pk").values_list("pk"))
    held = {row.account_id: row for row in SeamSetting.objects.filter(account__in=account_ids)}
    groups: defaultdict[tuple[bool, datetime | None], list[int]] = defaultdict(list)
    for account_id in account_ids:
        old = held.get(account_id)
        groups[
            (old.shadow if old else default.shadow) if shadow is KEEP else shadow,
            (old.bill_from if old else default.bill_from) if bill_from is KEEP else bill_from,
        ].append(account_id)
    for (new_shadow, new_bill_from), ids in groups.items():
        set_seam(
            account_ids=ids, shadow=new_shadow, bill_from=new_bill_from, actor=actor, reason=reason, now=now
        )
        if bill_from is not KEEP and new_bill_from is not None:
            _refuse_inside_bucket(ids, to_utc(new_bill_from))


def _refuse_inside_bucket(account_ids: list[int], bill_from: datetime) -> None:
    if bill_from.day == 1:
        return
    period = Period.of(bill_from)
    monthly = UsageFeed.objects.filter(
        account__in=account_ids, period=str(period), granularity=Granularity.MONTH
    )
    if feed := monthly.order_by("account_id").first():
        raise InsideBucket(
            f"account {feed.account_id} tells {period} in one figure: BILL_FROM must be {period.start_date}"
            f" or {period.end_date}"
        )


@transaction.atomic
def _align(seam: Seam, account_id: int) -> Alignment:
    return align_with_seam(seam=seam, account_id=account_id)
