"""Who is in a cohort."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from django.core.exceptions import ValidationError
from django.core.validators import validate_slug
from django.db import transaction
from django.db.models import Q

from billing_worker.accounts.audit import record_audit
from billing_worker.accounts.models import Account
from billing_worker.accounts.states import AccountStatus
from billing_worker.core.errors import InvalidInput
from cohorts.models import Cohort, CohortMember
from cohorts.selectors import bills_through_parent


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
    CohortMember.objects.bulk_create(CohortMember(cohort=cohort, account_id=pk) for pk in sorted(wanted))
    record_audit(
        actor=actor, action="cohort.created", subject_type="cohort", subject_id=cohort.pk, at=now,
        after={"name": name, "accounts": sorted(wanted)},
    )  # fmt: skip
    return cohort


def _check_name(name: str) -> None:
    try:
        validate_slug(name)
    except ValidationError:
        raise InvalidInput(
            f"a cohort's name is made of letters, digits, - and _, like cohort-1; {name!r} is not"
        ) from None
    if len(name) > 60:
        raise InvalidInput("a cohort's name has at most 60 characters")


def _find_problems(wanted: set[int]) -> list[str]:
    if not wanted:
        return ["it has no accounts"]
    accounts = {account.pk: account for account in Account.objects.filter(pk__in=wanted)}
    problems = [f"account {pk} is unknown" for pk in sorted(wanted - accounts.keys())]
    taken = CohortMember.objects.filter(held_account__in=wanted).select_related("cohort")
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
