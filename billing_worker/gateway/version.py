"""The one place where Stripe's API version is pinned.

Requests, webhook endpoints that we register and dj-stripe all use it. A test holds it against the installed SDK, so an
upgrade of the SDK moves it on purpose and never by accident.
"""

from __future__ import annotations

from typing import Final

STRIPE_API_VERSION: Final = "2026-08-26.dahlia"
