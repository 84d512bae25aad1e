"""What an account says about its customer at Stripe, and a customer as Stripe has it, as values that compare."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from billing_worker import gateway
from billing_worker.accounts.locales import choose_locale, list_preferred_locales
from billing_worker.accounts.models import Account
from billing_worker.customers.comparing import TAX_ID, Held, HeldTaxId


def build_wanted(account: Account) -> dict[str, Any]:
    """Every field that the account is the source of, as JSON keeps it. Nothing is an empty value, or None."""
    return {
        "name": account.name,
        "email": account.billing_email,
        "address": describe_address(build_address(account)),
        "preferred_locales": list(
            list_preferred_locales(choose_locale(account.address_country, account.locale))
        ),
        TAX_ID: {"type": account.tax_id_type, "value": account.tax_id_value} if account.tax_id_type else None,
    }


def build_address(account: Account) -> gateway.Address:
    return gateway.Address(
        line1=account.address_line1,
        line2=account.address_line2,
        city=account.address_city,
        state=account.address_state,
        postal_code=account.address_postal_code,
        country=account.address_country,
    )


def describe_address(address: gateway.Address | None) -> dict[str, str]:
    """An address's lines that say something, by Stripe's names."""
    return {name: line for name, line in asdict(address).items() if line} if address else {}


def describe_customer(customer: gateway.Customer) -> Held:
    """The customer as Stripe has it now, to be compared."""
    return Held(
        values={
            "name": customer.name,
            "email": customer.email,
            "address": describe_address(customer.address),
            "preferred_locales": list(customer.preferred_locales),
        },
        tax_ids=tuple(
            HeldTaxId(id=one.id, type=one.type, value=one.value, status=one.status)
            for one in customer.tax_ids
        ),
    )
