"""Bring our accounts in line with the old service's: upsert what is sound, report the rest, audit every change.

An account is written in one transaction of its own: whole, or as it was. Running it again changes nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, time
from typing import Any

import structlog
from django.db import DataError, IntegrityError, transaction
from django.db.models import ProtectedError

from billing_worker.accounts.audit import record_audit
from billing_worker.accounts.customers import kick_customer
from billing_worker.accounts.importing.drafts import AccountDraft, find_problems, make_draft
from billing_worker.accounts.importing.rows import describe, sync_rows
from billing_worker.accounts.models import Account, ManagedJob
from billing_worker.accounts.states import AccountStatus, JobSource
from billing_worker.legacy.selectors import LegacyCustomer

log = structlog.get_logger(__name__)

Progress = Callable[[Sequence[AccountDraft]], Iterable[AccountDraft]]


@dataclass(frozen=True, slots=True)
class ImportProblem:
    """Why an account was left as it was."""

    account_id: int
    reason: str

    def __str__(self) -> str:
        return f"account {self.account_id}: {self.reason}"


@dataclass(slots=True)
class ImportReport:
    """Account ids by what happened to them; `closed` are those that became closed in this run."""

    created: list[int] = field(default_factory=list)
    changed: list[int] = field(default_factory=list)
    unchanged: list[int] = field(default_factory=list)
    closed: list[int] = field(default_factory=list)
    problems: list[ImportProblem] = field(default_factory=list)


def import_accounts(
    *,
    customers: Sequence[LegacyCustomer],
    actor: str,
    now: datetime,
    dry_run: bool = False,
    progress: Progress = iter,
) -> ImportReport:
    """Import all accounts of the old service (`legacy.selectors.get_customers`).

    A bad account is skipped, keeps its previous row and is reported; so is one that vanished from the old service.
    With `dry_run` the report is the same and nothing is kept.
    """
    report = ImportReport()
    drafts = _order_drafts(customers, report)
    with transaction.atomic():
        if dry_run:
            _import_drafts(drafts, report, actor=actor, now=now, progress=progress)
            transaction.set_rollback(True)
            return report
    _import_drafts(drafts, report, actor=actor, now=now, progress=progress)
    Account.objects.filter(pk__in=report.unchanged).update(imported_at=now)
    return report


def _import_drafts(
    drafts: Sequence[AccountDraft], report: ImportReport, *, actor: str, now: datetime, progress: Progress
) -> None:
    known = set(Account.objects.values_list("pk", flat=True))
    seen = {draft.account_id for draft in drafts} | {problem.account_id for problem in report.problems}
    for draft in progress(drafts):
        parent_id = draft.fields["parent_id"]
        if parent_id is not None and parent_id not in known:
            report.problems.append(
                ImportProblem(draft.account_id, f"its parent {parent_id} was not imported")
            )
            continue
        try:
            _import_draft(draft, report, actor=actor, now=now)
        except (IntegrityError, DataError) as error:
            report.problems.append(ImportProblem(draft.account_id, _explain(error, draft)))
            continue
        known.add(draft.account_id)
    for account_id in sorted(known - seen):
        report.problems.append(
            ImportProblem(account_id, "is no longer in the legacy database; kept as it was")
        )
    for problem in report.problems:
        log.warning("account_not_imported", account_id=problem.account_id, reason=problem.reason)


@transaction.atomic
def _import_draft(draft: AccountDraft, report: ImportReport, *, actor: str, now: datetime) -> None:
    account = Account.objects.select_for_update().filter(pk=draft.account_id).first()
    if account is None:
        account = Account.objects.create(
            pk=draft.account_id,
            **draft.fields,
            stripe_customer_id=draft.stripe_customer_id,
            closed_at=_find_closed_at(draft, None, now),
            imported_at=now,
        )
        sync_rows(account, draft)
        report.created.append(account.pk)
        return
    refusal = _find_refusal(account, draft)
    if refusal:
        report.problems.append(ImportProblem(account.pk, refusal))
        return
    before, after = _update_fields(account, draft, now)
    rows_before, rows_after = sync_rows(account, draft)
    if not (before or after or rows_before or rows_after):
        report.unchanged.append(account.pk)
        return
    account.imported_at = now
    account.save(update_fields=["imported_at"])
    became_closed = after.get("status") == AccountStatus.CLOSED
    (report.closed if became_closed else report.changed).append(account.pk)
    for action, old, new in (
        ("account.changed", before, after),
        ("account.terms_changed", rows_before, rows_after),
    ):
        if old or new:
            record_audit(
                actor=actor,
                action=action,
                subject_type="account",
                subject_id=account.pk,
                at=now,
                reason="the old service changed it",
                before=old,
                after=new,
            )
    kick_customer(account, changed=after)


def _explain(error: IntegrityError | DataError, draft: AccountDraft) -> str:
    """What of ours stands against the draft, which was not written."""
    if isinstance(error, ProtectedError):
        jobs = draft.jobs.keys()
        gone = ManagedJob.objects.filter(account=draft.account_id, source=JobSource.LEGACY).exclude(
            pk__in=[job_id for (job_id,) in jobs]
        )
        named = ", ".join(str(pk) for pk in gone.order_by("pk").values_list("pk", flat=True))
        return f"job {named} is gone there, but Stripe bills it: kept as it was"
    moved = ManagedJob.objects.filter(pk__in=[job_id for (job_id,) in draft.jobs])
    for job in moved.exclude(account=draft.account_id).order_by("pk"):
        return f"job {job.pk} is account {job.account_id}'s here: run the import again"
    if draft.stripe_customer_id:
        owners = Account.objects.filter(stripe_customer_id=draft.stripe_customer_id)
        for owner in owners.exclude(pk=draft.account_id):
            return f"customer {draft.stripe_customer_id} is account {owner.pk}'s here"
    return f"the database refused it: {error}"


def _update_fields(
    account: Account, draft: AccountDraft, now: datetime
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Set what differs and save it; answers the old and the new values as JSON keeps them."""
    wanted = {**draft.fields, "closed_at": _find_closed_at(draft, account, now)}
    if draft.stripe_customer_id:
        wanted["stripe_customer_id"] = draft.stripe_customer_id
    changed = {name: value for name, value in wanted.items() if getattr(account, name) != value}
    before = {name: describe(getattr(account, name)) for name in changed}
    for name, value in changed.items():
        setattr(account, name, value)
    if changed:
        account.save(update_fields=list(changed))
    return before, {name: describe(value) for name, value in changed.items()}


def _find_refusal(account: Account, draft: AccountDraft) -> str | None:
    theirs, ours = draft.stripe_customer_id, account.stripe_customer_id
    if theirs and ours and theirs != ours:
        return f"the old service says customer {theirs}, here it is {ours}: find out which one is billed"
    if ours and account.currency != draft.fields["currency"]:
        return (
            f"its currency changed from {account.currency} to {draft.fields['currency']}, but customer {ours}"
            " keeps its own"
        )
    return None


def _find_closed_at(draft: AccountDraft, account: Account | None, now: datetime) -> datetime | None:
    """The instant from which nothing is in force; if the plans don't tell, when we first saw it closed."""
    if draft.fields["status"] != AccountStatus.CLOSED:
        return None
    if draft.closing_date is not None:
        return datetime.combine(draft.closing_date, time.min, tzinfo=UTC)
    return account.closed_at if account and account.closed_at else now


def _order_drafts(customers: Sequence[LegacyCustomer], report: ImportReport) -> list[AccountDraft]:
    """The sound accounts, parents before children; the others go to the report."""
    sound: dict[int, AccountDraft] = {}
    for customer in customers:
        problems = find_problems(customer)
        report.problems += [ImportProblem(customer.account.acct_id, problem) for problem in problems]
        if not problems:
            sound[customer.account.acct_id] = make_draft(customer)
    all_ids = {customer.account.acct_id for customer in customers}
    ordered: list[AccountDraft] = []
    owners: defaultdict[str | None, list[int]] = defaultdict(list)
    for draft in sound.values():
        owners[draft.stripe_customer_id].append(draft.account_id)
    for draft in sound.values():
        problem = _find_family_problem(draft, sound, all_ids) or _find_shared_customer(draft, owners)
        if problem:
            report.problems.append(ImportProblem(draft.account_id, problem))
        else:
            ordered.append(draft)
    return sorted(ordered, key=lambda draft: (_get_depth(draft, sound), draft.account_id))


def _find_family_problem(
    draft: AccountDraft, sound: dict[int, AccountDraft], all_ids: set[int]
) -> str | None:
    parent_id = draft.fields["parent_id"]
    if parent_id is None:
        return None
    if parent_id not in all_ids:
        return f"its parent {parent_id} does not exist"
    if _is_its_own_ancestor(draft, sound):
        return f"its parent {parent_id} leads back to itself"
    parent = sound.get(parent_id)
    if parent is None or not draft.bills_through_parent:
        return None
    if parent.fields["currency"] != draft.fields["currency"]:
        return f"it bills through {parent_id}, which has the currency {parent.fields['currency']}"
    if parent.fields["status"] == AccountStatus.CLOSED != draft.fields["status"]:
        return f"it bills through {parent_id}, which is closed"
    return None


def _find_shared_customer(draft: AccountDraft, owners: Mapping[str | None, list[int]]) -> str | None:
    customer = draft.stripe_customer_id
    if customer is None or len(owners[customer]) == 1:
        return None
    return f"customer {customer} belongs to accounts {owners[customer]}"


def _is_its_own_ancestor(draft: AccountDraft, sound: dict[int, AccountDraft]) -> bool:
    seen: set[int] = set()
    current: AccountDraft | None = draft
    while current is not None:
        if current.account_id in seen:
            return True
        seen.add(current.account_id)
        current = sound.get(current.fields["parent_id"])
    return False


def _get_depth(draft: AccountDraft, sound: dict[int, AccountDraft]) -> int:
    depth, parent = 0, sound.get(draft.fields["parent_id"])
    while parent is not None and depth <= len(sound):
        depth, parent = depth + 1, sound.get(parent.fields["parent_id"])
    return depth
