"""Who is in a cohort."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from django.core.exceptions import ValidationError
from django.core.validators import validate_slug
from django.db import IntegrityError, transaction
from django.db.models import Q

from billing_worker import gateway
from billing_worker.accounts.audit import record_audit
from billing_worker.accounts.models import Account
from billing_worker.accounts.selectors import get_billing_account, get_families
from billing_worker.accounts.states import AccountStatus
from billing_worker.core.errors import InvalidInput
from cohorts.models import Cohort, CohortMember
from cohorts.selectors import bills_through_parent
from cohorts.services.lifecycle import WrongCohortState
from cohorts.states import CohortState, ProvisioningState


@transaction.atomic
def create_cohort(
    *, name: str, account_ids: Collection[int], actor: str, now: datetime, description: str = ""
) -> Cohort:
    """A draft cohort with its members. Families that share an invoice stay together.

    Creating the same cohort with the same members again changes nothing.

    Raises:
        InvalidInput: a name that is no slug of at most 60 characters, unknown or closed accounts, accounts of another
            cohort, a family torn apart, or another cohort of this name.
    """
    _check_name(name)
    wanted = set(account_ids)
    existing = Cohort.objects.filter(name=name).first()
    if existing is not None:
        if set(existing.members.values_list("account_id", flat=True)) == wanted:
            return existing
        raise InvalidInput(f"there is a cohort {name} with other members: choose another name")
    problems = _find_problems(wanted)
    if problems:
        raise InvalidInput(
            f"cohort {name} can't be formed: {'; '.join(problems)}", fields={"accounts": problems}
        )
    cohort = Cohort.objects.create(name=name, description=description, created_at=now)
    _add(cohort, wanted)
    record_audit(
        actor=actor, action="cohort.created", subject_type="cohort", subject_id=cohort.pk, at=now,
        after={"name": name, "accounts": sorted(wanted)},
    )  # fmt: skip
    return cohort


def change_members(
    *,
    cohort_id: int,
    add: Collection[int] = (),
    remove: Collection[int] = (),
    actor: str,
    reason: str = "",
    now: datetime,
) -> Cohort:
    """Add accounts to a draft, take others out. Each stands for its whole family: who shares an invoice moves along.

    Adding who is there and removing who is not changes nothing. Not to be called in a transaction: what provisioning
    has begun for an account that leaves is looked for at Stripe.

    Raises:
        WrongCohortState: the cohort is no draft any more.
        InvalidInput: unknown or closed accounts, accounts of another cohort, one that is both added and removed, one
            that has its subscription, or nobody would be left.
        GatewayError: Stripe could not be asked.
    """
    added, removed = _list_families(add), _list_families(remove)
    if both := sorted(added & removed):
        raise InvalidInput(f"account {both[0]} is both added and removed, perhaps with its family")
    _refuse_set_up(cohort_id, removed)
    with transaction.atomic():
        cohort = Cohort.objects.select_for_update().get(pk=cohort_id)
        require_draft(cohort)
        before = set(cohort.members.values_list("account_id", flat=True))
        after = (before | added) - removed
        if after == before:
            return cohort
        if problems := _find_problems(after, own=cohort):
            raise InvalidInput(
                f"cohort {cohort.name} can't be changed: {'; '.join(problems)}", fields={"accounts": problems}
            )
        cohort.members.filter(account__in=before - after).delete()
        _add(cohort, after - before)
        record_audit(
            actor=actor, action="cohort.members_changed", subject_type="cohort", subject_id=cohort.pk, at=now,
            reason=reason, before={"accounts": sorted(before)},
            after={"added": sorted(after - before), "removed": sorted(before - after)},
        )  # fmt: skip
    return cohort


def require_draft(cohort: Cohort) -> None:
    """Raises WrongCohortState, with what can be done instead, unless the cohort's members may still be changed."""
    if cohort.state != CohortState.DRAFT:
        raise WrongCohortState(
            f"cohort {cohort.name} is {cohort.get_state_display().lower()}: its members have their subscriptions and"
            " are part of its evidence. Roll it back, or form another cohort"
        )


def _list_families(ids: Collection[int]) -> set[int]:
    """The accounts and everybody on the same invoices, closed children left out; unknown ids as they are."""
    accounts = Account.objects.filter(pk__in=ids).select_related("parent__parent")
    payers = {get_billing_account(account).pk for account in accounts}
    family = {pk for members in get_families(payers).values() for pk in members}
    closed = Account.objects.filter(pk__in=family, status=AccountStatus.CLOSED).exclude(pk__in=ids)
    return (family | set(ids)) - set(closed.values_list("pk", flat=True))


def _refuse_set_up(cohort_id: int, ids: set[int]) -> None:
    """Raises InvalidInput for accounts that have a subscription, or to which Stripe has one that we don't know of."""
    begun = CohortMember.objects.filter(cohort=cohort_id, account__in=ids).exclude(
        provisioning=ProvisioningState.PENDING
    )
    for member in begun.select_related("account").order_by("account_id"):
        customer_id = member.account.stripe_customer_id
        subscriptions = gateway.list_subscriptions(customer_id) if customer_id else []
        if member.provisioning == ProvisioningState.PROVISIONED or any(
            subscription.ended_at is None for subscription in subscriptions
        ):
            raise InvalidInput(
                f"account {member.account_id} has been set up at Stripe: finish provision_cohort, and roll the cohort"
                " back if it is to stay with legacy",
                fields={"accounts": [f"account {member.account_id} has been set up at Stripe"]},
            )


def _add(cohort: Cohort, ids: set[int]) -> None:
    """The constraint on `held_account` decides where two cohorts want the same account at once."""
    try:
        with transaction.atomic():
            CohortMember.objects.bulk_create(CohortMember(cohort=cohort, account_id=pk) for pk in sorted(ids))
    except IntegrityError:
        raise InvalidInput("one of the accounts has just joined another cohort: look again") from None


def _check_name(name: str) -> None:
    try:
        validate_slug(name)
    except ValidationError:
        raise InvalidInput(
            f"a cohort's name is made of letters, digits, - and _, like cohort-1; {name!r} is not"
        ) from None
    if len(name) > 60:
        raise InvalidInput("a cohort's name has at most 60 characters")


def _find_problems(wanted: set[int], own: Cohort | None = None) -> list[str]:
    if not wanted:
        return ["it has no accounts"]
    accounts = {account.pk: account for account in Account.objects.filter(pk__in=wanted)}
    problems = [f"account {pk} is unknown" for pk in sorted(wanted - accounts.keys())]
    taken = CohortMember.objects.filter(held_account__in=wanted).exclude(cohort=own).select_related("cohort")
    problems += [f"account {member.account_id} is in cohort {member.cohort.name}" for member in taken]
    for account in accounts.values():
        if account.status == AccountStatus.CLOSED:
            problems.append(f"account {account.pk} is closed")
        if bills_through_parent(account) and account.parent_id not in wanted:
            problems.append(
                f"account {account.pk} bills through {account.parent_id}, which is not in the cohort"
            )
    children = Account.objects.filter(parent_id__in=wanted, stripe_customer_id__isnull=True).exclude(
        Q(pk__in=wanted) | Q(status=AccountStatus.CLOSED)
    )
    problems += [f"account {child.pk} bills through {child.parent_id} and is missing" for child in children]
    return problems
