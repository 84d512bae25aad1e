"""The dated rows of an account made to match a draft, telling exactly what was different."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from typing import Any

from django.db import models

from billing_worker.accounts.importing.drafts import AccountDraft
from billing_worker.accounts.models import Account, AccountPlan, AccountTier, ManagedJob
from billing_worker.accounts.states import JobSource

#: Which rows the old service's tables decide about: a job that was requested from us is none of them.
_OURS: dict[type[models.Model], dict[str, Any]] = {ManagedJob: {"source": JobSource.LEGACY}}

#: Columns that the old service knows nothing of.
_OF_REQUESTS = frozenset({"source", "reference", "requested_by", "requested_at"})

Wanted = dict[tuple[Any, ...], dict[str, Any]]


def sync_rows(account: Account, draft: AccountDraft) -> tuple[dict[str, Any], dict[str, Any]]:
    """Insert, update and delete plans, tiers and jobs. Call it in the transaction that holds the account's lock.

    Answers `(before, after)`: only what differed, as JSON keeps it, under `plans`, `tiers` and `jobs`.
    """
    before: dict[str, Any] = {}
    after: dict[str, Any] = {}
    for name, model, identity, wanted in (
        ("plans", AccountPlan, ("effective_from",), draft.plans),
        ("tiers", AccountTier, ("usage_type", "effective_from", "tier_from"), draft.tiers),
        ("jobs", ManagedJob, ("id",), draft.jobs),
    ):
        old, new = _sync_model(account, model, identity, wanted)
        if old or new:
            before[name], after[name] = old, new
    return before, after


def describe(value: object) -> object:
    """A value as the audit trail's JSON keeps it: decimals and times as text."""
    if isinstance(value, Decimal):
        text = f"{value:f}"
        return text.rstrip("0").rstrip(".") if "." in text else text
    if isinstance(value, (date, datetime)):
        return value.isoformat()
    return value


def _sync_model(
    account: Account, model: type[models.Model], identity: tuple[str, ...], wanted: Wanted
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    manager = model._default_manager
    existing = {
        tuple(getattr(row, name) for name in identity): row
        for row in manager.filter(account=account, **(_OURS.get(model, {})))
    }
    before: list[dict[str, Any]] = []
    after: list[dict[str, Any]] = []
    for key, values in wanted.items():
        row = existing.pop(key, None)
        name = dict(zip(identity, key, strict=True))
        if row is None:
            manager.create(account=account, **name, **values)
            after.append(_describe_row({**name, **values}))
            continue
        old = {field: getattr(row, field) for field in values}
        if old != values:
            for field, value in values.items():
                setattr(row, field, value)
            row.save(update_fields=list(values))
            before.append(_describe_row({**name, **old}))
            after.append(_describe_row({**name, **values}))
    for key, row in existing.items():
        old = {field: getattr(row, field) for field in _value_names(row, identity)}
        before.append(_describe_row({**dict(zip(identity, key, strict=True)), **old}))
        row.delete()
    return before, after


def _value_names(row: models.Model, identity: tuple[str, ...]) -> list[str]:
    return [
        field.attname
        for field in row._meta.concrete_fields
        if field.attname not in {*identity, *_OF_REQUESTS, "id", "account_id"}
    ]


def _describe_row(values: dict[str, Any]) -> dict[str, Any]:
    return {name: describe(value) for name, value in values.items()}
