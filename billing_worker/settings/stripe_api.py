"""What dj-stripe needs to know; the gateway reads `settings.ENV` itself.

`STRIPE_API_VERSION` is handed on, or dj-stripe would follow whatever the SDK has.
"""

from __future__ import annotations

from billing_worker.env import Environment
from billing_worker.gateway.version import STRIPE_API_VERSION as STRIPE_API_VERSION


def build_djstripe(env: Environment) -> tuple[str, str, bool, str]:
    """`(test key, live key, live mode, foreign key field)` under dj-stripe's setting names."""
    key = env.STRIPE_SECRET_KEY.get_secret_value() if env.STRIPE_SECRET_KEY else ""
    return ("" if env.has_live_key else key, key if env.has_live_key else "", env.has_live_key, "id")
