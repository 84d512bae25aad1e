"""The only writers of accounts, leases, test clocks and service keys. Every change that moves money is audited."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import TYPE_CHECKING, cast

from django.db import IntegrityError, transaction

from billing_worker.accounts.audit import record_audit
from billing_worker.accounts.customers import kick_customer
from billing_worker.accounts.importing.run import ImportReport as ImportReport
from billing_worker.accounts.importing.run import import_accounts as import_accounts
from billing_worker.accounts.locales import LOCALE_CHOICES
from billing_worker.accounts.models import Account, BillingLease, ServiceKey, TestClock
from billing_worker.accounts.selectors import UnknownAccount
from billing_worker.accounts.states import Biller, InvoiceFormat
from billing_worker.core.errors import Conflict, InvalidInput
from billing_worker.core.periods import Period

if TYPE_CHECKING:
    from django.contrib.auth.models import User

#: What a service key may be allowed to do.
SCOPES = ("usage:write", "jobs:write", "usage:read", "invoices:read", "internal:read", "internal:run")


class CustomerAlreadyLinked(Conflict):
    """The account has another Stripe customer, or the customer belongs to another account."""

    code = "customer_already_linked"


@transaction.atomic
def set_biller(
    *, account_id: int, period: Period, biller: Biller, actor: str, reason: str, now: datetime
) -> BillingLease:
    """Say which side bills the account for the period. Saying it twice changes nothing and is audited once.

    Raises:
        UnknownAccount: no such account.
        InvalidInput: no reason given.
    """
    if not reason.strip():
        raise InvalidInput("say why the biller changes", fields={"reason": ["is required"]})
    _lock_account(account_id)
    lease = BillingLease.objects.filter(account_id=account_id, period=str(period)).first()
    before = Biller(lease.biller) if lease else Biller.LEGACY
    if lease and before == biller:
        return lease
    if lease:
        lease.biller, lease.changed_at = biller, now
        lease.save(update_fields=["biller", "changed_at"])
    else:
        lease = BillingLease.objects.create(
            account_id=account_id, period=str(period), biller=biller, changed_at=now
        )
    record_audit(
        actor=actor,
        action="lease.biller_set",
        subject_type="account",
        subject_id=account_id,
        at=now,
        reason=reason,
        before={"period": str(period), "biller": before.value},
        after={"period": str(period), "biller": biller.value},
    )
    return lease


@transaction.atomic
def change_document_settings(
    *,
    account_id: int,
    locale: str,
    invoice_format: str,
    tax_id_type: str,
    tax_id_value: str,
    actor: str,
    reason: str = "",
    now: datetime,
) -> Account:
    """Say how an account's documents are written: language, format, tax id. They hold for documents made from now on.

    Raises:
        UnknownAccount: no such account.
        InvalidInput: a locale or format that does not exist, or half a tax id.
    """
    wanted = {
        "locale": locale,
        "invoice_format": invoice_format,
        "tax_id_type": tax_id_type.strip(),
        "tax_id_value": tax_id_value.strip(),
    }
    if locale and locale not in dict(LOCALE_CHOICES):
        raise InvalidInput(f"there is no locale {locale!r}", fields={"locale": ["is unknown"]})
    if invoice_format not in InvoiceFormat.values:
        raise InvalidInput(
            f"there is no format {invoice_format!r}", fields={"invoice_format": ["is unknown"]}
        )
    if bool(wanted["tax_id_type"]) != bool(wanted["tax_id_value"]):
        raise InvalidInput(
            "a tax id is a kind and a number: give both or neither",
            fields={"tax_id_value": ["needs its kind"]},
        )
    account = _lock_account(account_id)
    before = {name: getattr(account, name) for name in wanted if getattr(account, name) != wanted[name]}
    if not before:
        return account
    for name in before:
        setattr(account, name, wanted[name])
    account.save(update_fields=list(before))
    record_audit(
        actor=actor,
        action="account.document_settings_changed",
        subject_type="account",
        subject_id=account_id,
        at=now,
        reason=reason,
        before=before,
        after={name: wanted[name] for name in before},
    )
    kick_customer(account, changed=before)
    return account


def record_test_clock(
    *, stripe_test_clock_id: str, frozen_at: datetime, name: str = "", is_ready: bool = True
) -> TestClock:
    """Write down what Stripe says about a test clock: create it, or move it to `frozen_at` (aware UTC)."""
    defaults: dict[str, object] = {"frozen_at": frozen_at, "is_ready": is_ready}
    if name:
        defaults["name"] = name
    clock, _ = TestClock.objects.update_or_create(
        stripe_test_clock_id=stripe_test_clock_id, defaults=defaults
    )
    return clock


@transaction.atomic
def link_customer(
    *,
    account_id: int,
    stripe_customer_id: str,
    test_clock: TestClock | None = None,
    actor: str = "system",
    now: datetime,
) -> Account:
    """Tie an account to its Stripe customer. Linking the same one again changes nothing.

    Raises:
        UnknownAccount: no such account.
        CustomerAlreadyLinked: either side is tied to another one; moving a customer is never done silently.
    """
    account = _lock_account(account_id)
    if account.stripe_customer_id not in {None, stripe_customer_id}:
        raise CustomerAlreadyLinked(
            f"account {account_id} already has customer {account.stripe_customer_id}, not {stripe_customer_id}"
        )
    if account.stripe_customer_id == stripe_customer_id and account.test_clock == test_clock:
        return account
    account.stripe_customer_id, account.test_clock = stripe_customer_id, test_clock
    try:
        with transaction.atomic():
            account.save(update_fields=["stripe_customer_id", "test_clock"])
    except IntegrityError:
        raise CustomerAlreadyLinked(f"customer {stripe_customer_id} belongs to another account") from None
    record_audit(
        actor=actor,
        action="account.customer_linked",
        subject_type="account",
        subject_id=account_id,
        at=now,
        after={
            "stripe_customer_id": stripe_customer_id,
            "test_clock": test_clock.stripe_test_clock_id if test_clock else None,
        },
    )
    return account


@transaction.atomic
def create_service_key(
    *, name: str, scopes: Collection[str], actor: str, now: datetime, created_by: User | None = None
) -> tuple[ServiceKey, str]:
    """A new service key and its plain text, which is nowhere stored: show it once.

    Raises:
        InvalidInput: no name, no scope, or an unknown scope.
    """
    unknown = sorted(set(scopes) - set(SCOPES))
    if not name.strip() or not scopes or unknown:
        reason = f"unknown scope {', '.join(unknown)}" if unknown else "a key needs a name and a scope"
        raise InvalidInput(f"{reason}; scopes are {', '.join(SCOPES)}", fields={"scopes": [reason]})
    created, plain = ServiceKey.objects.create_key(
        name=name.strip(), scopes=sorted(set(scopes)), created_by=created_by
    )
    key = cast(ServiceKey, created)
    record_audit(
        actor=actor,
        action="service_key.created",
        subject_type="service_key",
        subject_id=key.prefix,
        at=now,
        after={"name": key.name, "scopes": key.scopes},
    )
    return key, plain


@transaction.atomic
def revoke_service_key(*, key: ServiceKey, actor: str, reason: str, now: datetime) -> ServiceKey:
    """Make a key useless from now on. A revoked key stays revoked."""
    if key.revoked:
        return key
    key.revoked = True
    key.save(update_fields=["revoked"])
    record_audit(
        actor=actor,
        action="service_key.revoked",
        subject_type="service_key",
        subject_id=key.prefix,
        at=now,
        reason=reason,
    )
    return key


def _lock_account(account_id: int) -> Account:
    account = Account.objects.select_for_update().filter(pk=account_id).first()
    if account is None:
        raise UnknownAccount(f"there is no account {account_id}: import it, or correct the id")
    return account
