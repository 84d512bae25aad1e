"""One account of the old service, converted to our units and checked, before anything is written."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

from django.core.exceptions import ValidationError
from django.core.validators import validate_email

from billing_worker.accounts.importing.tables import (
    find_closing_date,
    find_fee_problems,
    find_tier_problems,
    to_unit_amount,
)
from billing_worker.accounts.states import AccountStatus, JobStatus
from billing_worker.core.errors import InvalidInput
from billing_worker.core.money import is_supported_currency, to_minor, to_minor_decimal
from billing_worker.legacy.models import LegacyAccount, LegacyManagedJob
from billing_worker.legacy.selectors import LegacyCustomer

#: Our columns that are the old service's texts, and their greatest length here.
_TEXTS = {
    "name": 255,
    "address_line1": 255,
    "address_line2": 255,
    "address_city": 120,
    "address_state": 120,
    "address_postal_code": 32,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountDraft:
    """What our rows should say. `plans`, `tiers` and `jobs` map a row's identity to its values."""

    account_id: int
    fields: dict[str, Any]
    stripe_customer_id: str | None
    closing_date: date | None
    plans: dict[tuple[Any, ...], dict[str, Any]]
    tiers: dict[tuple[Any, ...], dict[str, Any]]
    jobs: dict[tuple[Any, ...], dict[str, Any]]

    @property
    def bills_through_parent(self) -> bool:
        return self.fields["parent_id"] is not None and self.stripe_customer_id is None


def find_problems(customer: LegacyCustomer) -> list[str]:
    """Everything that keeps this account from being imported, one line each; empty if it can be."""
    account = customer.account
    problems = [*_find_account_problems(account), *find_fee_problems(customer.fees)]
    problems += find_tier_problems(customer.tiers)
    if not is_supported_currency(account.currency):
        return [*problems, f"currency {account.currency!r} is not one that can be billed"]
    for fee in customer.fees:
        problems += _check_amount(f"plan row {fee.id}", fee.sub_rate, account.currency)
    for job in customer.jobs:
        problems += _find_job_problems(job, account.currency)
    return problems


def make_draft(customer: LegacyCustomer) -> AccountDraft:
    """Convert an account that `find_problems` let pass: minor units, inclusive upper bounds, aware UTC."""
    account = customer.account
    currency = account.currency.lower()
    fields: dict[str, Any] = {name: (getattr(account, name) or "").strip() for name in _TEXTS}
    fields |= {
        "status": account.status,
        "billing_email": (account.billing_email or "").strip(),
        "billing_cc": ", ".join(_split_addresses(account.billing_cc)),
        "address_country": (account.address_country or "").strip().upper(),
        "currency": currency,
        "parent_id": account.parent_acct_id,
        "opened_at": account.created_at,
    }
    return AccountDraft(
        account_id=account.acct_id,
        fields=fields,
        stripe_customer_id=account.stripe_customer_id or None,
        closing_date=find_closing_date([*customer.fees, *customer.tiers]),
        plans={
            (fee.effective_from,): {
                "plan_name": fee.plan_name,
                "unit_amount_decimal": to_minor_decimal(fee.sub_rate, currency),
                "effective_to": fee.effective_to,
            }
            for fee in customer.fees
        },
        tiers={
            (tier.usage_type, tier.effective_from, tier.tier_from): {
                # Theirs counts units and excludes the bound; the last unit included is the same number.
                "tier_to": tier.tier_to,
                "unit_amount_decimal": to_unit_amount(tier.rate, currency),
                "effective_to": tier.effective_to,
            }
            for tier in customer.tiers
        },
        jobs={
            (job.job_id,): {
                "title": job.title,
                "amount_minor": to_minor(job.amount, currency),
                "currency": currency,
                "status": job.status,
                "completed_at": job.completed_at,
            }
            for job in customer.jobs
        },
    )


def _find_account_problems(account: LegacyAccount) -> Iterator[str]:
    if not (account.name or "").strip():
        yield "name is empty"
    for name, length in _TEXTS.items():
        if len(getattr(account, name) or "") > length:
            yield f"{name} is longer than {length} characters"
    if account.status not in AccountStatus.values:
        yield f"status {account.status!r} is none of {', '.join(AccountStatus.values)}"
    if account.created_at is None:
        yield "created_at is missing"
    if not re.fullmatch(r"([A-Za-z]{2})?", (account.address_country or "").strip()):
        yield f"address_country {account.address_country!r} is not a two-letter country code"
    for address in [(account.billing_email or "").strip(), *_split_addresses(account.billing_cc)]:
        if address and not _is_email(address):
            yield f"{address!r} is not an e-mail address"


def _find_job_problems(job: LegacyManagedJob, currency: str) -> Iterator[str]:
    if job.status not in JobStatus.values:
        yield f"job {job.job_id}: status {job.status!r} is none of {', '.join(JobStatus.values)}"
    elif job.status != JobStatus.OPEN and job.completed_at is None:
        yield f"job {job.job_id}: {job.status} without completed_at"
    yield from _check_amount(f"job {job.job_id}", job.amount, currency)


def _check_amount(row: str, amount: Decimal, currency: str) -> list[str]:
    try:
        to_minor(amount, currency)
    except InvalidInput as error:
        return [f"{row}: {error}"]
    return []


def _split_addresses(text: str | None) -> list[str]:
    return [part.strip() for part in re.split(r"[,;]", text or "") if part.strip()]


def _is_email(address: str) -> bool:
    try:
        validate_email(address)
    except ValidationError:
        return False
    return True
