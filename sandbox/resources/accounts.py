"""The one account of the sandbox. Clients (dj-stripe among them) ask whose key they hold."""

from __future__ import annotations

from sandbox.engine.account import ACCOUNT_ID, no_such_account
from sandbox.engine.context import Context
from sandbox.engine.errors import JsonObject
from sandbox.engine.routing import operation


def _account() -> JsonObject:
    return {
        "id": ACCOUNT_ID,
        "object": "account",
        "business_type": "company",
        "charges_enabled": True,
        "country": "US",
        "created": 1_577_836_800,
        "default_currency": "usd",
        "details_submitted": True,
        "email": "sandbox@example.com",
        "metadata": {},
        "payouts_enabled": True,
        "settings": {
            "branding": {"icon": None, "logo": None, "primary_color": None, "secondary_color": None},
            "dashboard": {"display_name": "Sandbox", "timezone": "Etc/UTC"},
        },
        "type": "standard",
    }


@operation("GET", "/v1/account")
def retrieve_own_account(ctx: Context) -> JsonObject:
    """Return the account of the key."""
    return _account()


@operation("GET", "/v1/accounts/{account}", params="AccountRetrieveParams")
def retrieve_account(ctx: Context) -> JsonObject:
    """Return the account by id; there is only one."""
    id = ctx.path["account"]
    if id != ACCOUNT_ID:
        raise no_such_account(id)
    return _account()
