"""Which customers follow their accounts: those of provisioned members that pay themselves."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from datetime import datetime

from billing_worker.customers.models import CustomerSync
from billing_worker.customers.services import SyncResult, follow_customers
from billing_worker.customers.services import sync_customers as run_sync
from cohorts.models import CohortMember
from cohorts.states import ProvisioningState


def sync_customers(
    *,
    now: datetime,
    actor: str,
    cohort_id: int | None = None,
    account_ids: Collection[int] | None = None,
    only_due: bool = False,
    is_dry_run: bool = False,
    overwrite: Collection[str] = (),
    track: Callable[[list[CustomerSync]], Iterable[CustomerSync]] = iter,
) -> list[SyncResult]:
    """Follow the customers of all provisioned payers, then bring these in step (see `customers.services`).

    Children that bill through a payer have nothing of their own at Stripe and are left out; so are accounts whose
    customer is known from the old service, until their cohort is provisioned.
    """
    chosen = list_provisioned_payers(cohort_id=cohort_id, account_ids=account_ids)
    if not is_dry_run:
        follow_customers(account_ids=chosen)
    return run_sync(
        now=now, actor=actor, account_ids=chosen, only_due=only_due, is_dry_run=is_dry_run, overwrite=overwrite,
        track=track,
    )  # fmt: skip


def list_provisioned_payers(
    *, cohort_id: int | None = None, account_ids: Collection[int] | None = None
) -> list[int]:
    """Accounts with a customer of their own whose provisioning is complete."""
    members = CohortMember.objects.filter(
        provisioning=ProvisioningState.PROVISIONED, account__stripe_customer_id__isnull=False
    )
    if cohort_id is not None:
        members = members.filter(cohort_id=cohort_id)
    if account_ids is not None:
        members = members.filter(account_id__in=account_ids)
    return list(members.order_by("account_id").values_list("account_id", flat=True))
