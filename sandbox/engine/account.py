"""The one account that every key of the sandbox belongs to."""

from __future__ import annotations

from sandbox.engine.errors import StripeError

ACCOUNT_ID = "acct_1SandboxBilling00"


def no_such_account(id: str) -> StripeError:
    """Return the 403 for any other account: the sandbox has no Connect."""
    return StripeError(
        403,
        f"The provided key does not have access to account '{id}' (or that account does not exist). Application access "
        "may have been revoked.",
        code="account_invalid",
    )
