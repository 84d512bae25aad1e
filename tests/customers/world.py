"""An account whose customer is at the stand-in for Stripe, and looks at that customer from outside."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from billing_worker import gateway
from billing_worker.accounts.models import Account
from billing_worker.customers.models import CustomerSync
from billing_worker.customers.services import SyncResult, follow_customers, sync_account
from billing_worker.customers.services.claims import CLAIM_LIVES
from billing_worker.customers.wanted import build_address, build_wanted
from billing_worker.gateway.transport import call, make_path
from tests.factories import NOW, AccountFactory

GERMAN: dict[str, Any] = {
    "name": "Beispiel GmbH",
    "billing_email": "rechnung@example.com",
    "address_line1": "Musterweg 1",
    "address_postal_code": "10115",
    "address_city": "Berlin",
    "address_country": "DE",
    "tax_id_type": "eu_vat",
    "tax_id_value": "DE123456789",
}


def provision(**changes: Any) -> Account:
    """An account with its customer, as provisioning leaves both."""
    account = AccountFactory.create(**{**GERMAN, **changes})
    wanted = build_wanted(account)
    customer = gateway.create_customer(
        name=wanted["name"],
        email=wanted["email"],
        address=build_address(account),
        metadata={"account_id": str(account.pk)},
        preferred_locales=wanted["preferred_locales"],
        tax_ids=[gateway.TaxId(**wanted["tax_id"])] if wanted["tax_id"] else [],
        idempotency_key=f"test-{account.pk}",
    )
    account.stripe_customer_id = customer.id
    account.save(update_fields=["stripe_customer_id"])
    follow_customers(account_ids=[account.pk], written=wanted)
    return account


def change(account: Account, **fields: Any) -> None:
    Account.objects.filter(pk=account.pk).update(**fields)
    account.refresh_from_db()


def sync(account: Account, **options: Any) -> SyncResult:
    return sync_account(account_id=account.pk, actor="test", now=NOW, **options)


def get_row(account: Account) -> CustomerSync:
    return CustomerSync.objects.get(account=account)


def look(account: Account) -> gateway.Customer:
    """The customer as Stripe has it."""
    return gateway.get_customer(account.stripe_customer_id or "", with_tax_ids=True)


def list_values(account: Account) -> list[str]:
    return [tax_id.value for tax_id in look(account).tax_ids]


def edit_at_stripe(account: Account, **params: Any) -> None:
    """What a person does in Stripe's dashboard."""
    call("post", make_path("customers", account.stripe_customer_id or ""), params)


def add_at_stripe(account: Account, kind: str, value: str) -> None:
    call(
        "post",
        make_path("customers", account.stripe_customer_id or "", "tax_ids"),
        {"type": kind, "value": value},
    )


def forget_claims() -> None:
    """The time after which a silent worker counts as dead has passed."""
    for row in CustomerSync.objects.exclude(claimed_at=None):
        assert row.claimed_at is not None
        CustomerSync.objects.filter(pk=row.pk).update(
            claimed_at=row.claimed_at - CLAIM_LIVES - timedelta(seconds=1)
        )
