"""What dj-stripe needs to know; the gateway reads `settings.ENV` itself."""

from __future__ import annotations

from billing_worker.env import Environment


def build_djstripe(env: Environment) -> tuple[str, str, bool, str]:
    """`(test key, live key, live mode, foreign key field)` under dj-stripe's setting names."""
    key = env.STRIPE_SECRET_KEY.get_secret_value() if env.STRIPE_SECRET_KEY else ""
    is_live = key.startswith(("sk_live_", "rk_live_"))
    return ("" if is_live else key, key if is_live else "", is_live, "id")
