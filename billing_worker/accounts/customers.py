"""What of an account its customer at Stripe follows."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from billing_worker.accounts.models import Account
from billing_worker.alerts.kicks import kick

#: Columns that reach Stripe's customer once the account is provisioned.
CUSTOMER_COLUMNS: Final = frozenset(
    {
        "name", "billing_email", "locale", "tax_id_type", "tax_id_value",
        "address_line1", "address_line2", "address_city", "address_state", "address_postal_code", "address_country",
    }
)  # fmt: skip


def kick_customer(account: Account, *, changed: Iterable[str]) -> None:
    """Have the account's customer looked at once this change is committed, if it could matter there.

    The hourly run finds what a lost kick leaves behind.
    """
    if account.stripe_customer_id and not CUSTOMER_COLUMNS.isdisjoint(changed):
        kick("customers.sync_account", account.pk)
