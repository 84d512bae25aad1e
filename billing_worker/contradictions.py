"""Settings that are fine one by one and wrong together. Each problem is one line that says what to do.

No line ever shows a secret's value, or an address that may hold a password.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import time
from email.utils import parseaddr
from typing import TYPE_CHECKING, Final
from urllib.parse import SplitResult, urlsplit

if TYPE_CHECKING:
    from billing_worker.env import Environment

LIVE_STRIPE: Final = "https://api.stripe.com"
LIVE_METER_EVENTS: Final = "https://meter-events.stripe.com"
LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "::1"})
_PERCENT: Final = r"[0-9]{1,2}(\.[0-9]{1,6})?"
_TOLERANCE: Final = re.compile(rf"[A-Za-z0-9_]{{1,40}}={_PERCENT}(/{_PERCENT})?")


def find_contradictions(env: Environment) -> list[str]:
    """Every problem at once, so that a person fixes them in one go."""
    return [problem for check in _CHECKS for problem in check(env)]


def split_address(address: str) -> SplitResult | None:
    """The parts of an address, or None for one that can't be read (a bad port, a broken IPv6 host)."""
    try:
        parts = urlsplit(address)
        _ = parts.port
    except ValueError:
        return None
    return parts


def _check_process(env: Environment) -> Iterator[str]:
    if env.DEBUG and (env.ENVIRONMENT != "local" or not env.database_url.startswith("sqlite")):
        yield "DEBUG is on with a server database or outside local: unset DEBUG, its pages show data and settings"
    if env.ENVIRONMENT != "local" and len(env.DJANGO_SECRET_KEY.get_secret_value()) < 50:
        yield f"DJANGO_SECRET_KEY: {env.ENVIRONMENT} needs 50 or more random characters"
    public = split_address(env.PUBLIC_URL)
    if public is None or public.scheme not in {"http", "https"} or not public.hostname:
        yield "PUBLIC_URL: must be an address like https://billing.example.com"
    elif not _is_allowed_host(public.hostname, env.ALLOWED_HOSTS):
        yield f"PUBLIC_URL is at {public.hostname}, which ALLOWED_HOSTS does not list: add it there"


def _check_stripe(env: Environment) -> Iterator[str]:
    key = env.STRIPE_SECRET_KEY.get_secret_value() if env.STRIPE_SECRET_KEY else ""
    if key and not key.startswith(("sk_test_", "rk_test_", "sk_live_", "rk_live_")):
        yield "STRIPE_SECRET_KEY: not a secret or restricted key; it begins with sk_ or rk_ and test or live"
    if env.has_live_key and env.STRIPE_API_BASE.rstrip("/") != LIVE_STRIPE:
        yield (
            f"STRIPE_SECRET_KEY is a live key but STRIPE_API_BASE is not {LIVE_STRIPE}: "
            "use a test key with the sandbox, or unset STRIPE_API_BASE"
        )
    if env.has_live_key and not env.is_production:
        yield "STRIPE_SECRET_KEY is a live key: set ENVIRONMENT=production or use a test key"
    if not key and not env.SHADOW:
        yield "SHADOW is false but there is no STRIPE_SECRET_KEY: set the key, or unset SHADOW and send nothing"
    if not _is_https_or_loopback(env.STRIPE_API_BASE):
        yield "STRIPE_API_BASE: must be https, or http on this machine for the sandbox"
    if not _is_https_or_loopback(env.meter_events_base):
        yield "STRIPE_METER_EVENTS_BASE: must be https, or http on this machine for the sandbox"
    if env.has_live_key and env.STRIPE_METER_EVENTS_BASE and env.meter_events_base != LIVE_METER_EVENTS:
        yield (
            f"STRIPE_SECRET_KEY is a live key but STRIPE_METER_EVENTS_BASE is not {LIVE_METER_EVENTS}: unset it, "
            "or the stream's events go elsewhere"
        )
    if not env.STRIPE_WEBHOOK_SECRET:
        yield "STRIPE_WEBHOOK_SECRET is missing: give the endpoint's whsec_ secret (several: comma separated)"
    elif any(not secret.get_secret_value().startswith("whsec_") for secret in env.STRIPE_WEBHOOK_SECRET):
        yield "STRIPE_WEBHOOK_SECRET: every secret begins with whsec_"


def _check_data(env: Environment) -> Iterator[str]:
    for name, address, schemes in (
        ("DATABASE_URL", env.database_url, ("mysql", "sqlite")),
        ("LEGACY_DATABASE_URL", env.legacy_database_url, ("mysql", "sqlite")),
        ("REDSHIFT_DATABASE_URL", env.REDSHIFT_DATABASE_URL, ("postgresql", "postgres", "redshift")),
        ("CELERY_BROKER_URL", env.CELERY_BROKER_URL, ("redis", "rediss", "amqp", "amqps")),
    ):
        parts = split_address(address) if address else None
        if address and (parts is None or parts.scheme not in schemes):
            yield f"{name}: must be an address that begins with {' or '.join(f'{word}://' for word in schemes)}"
        elif parts and parts.scheme == "mysql" and not parts.path.strip("/"):
            yield f"{name}: names no database, like mysql://user:password@host/name"
    if env.database_url == env.legacy_database_url:
        yield "DATABASE_URL and LEGACY_DATABASE_URL are the same: ours would be taken for the old service's"


def _check_delivery(env: Environment) -> Iterator[str]:
    if bool(env.MAILGUN_API_KEY) != bool(env.MAILGUN_DOMAIN):
        yield "MAILGUN_API_KEY and MAILGUN_DOMAIN go together: set both, or neither for .eml files"
    if env.UNKNOWN_MAIL_POLICY == "resend" and not (env.MAILGUN_API_KEY and env.MAILGUN_WEBHOOK_SIGNING_KEY):
        yield (
            "UNKNOWN_MAIL_POLICY is resend: set MAILGUN_API_KEY and MAILGUN_WEBHOOK_SIGNING_KEY too, "
            "because without the mail service's word a mail would be sent again on a guess"
        )
    if not _is_https_or_loopback(env.MAILGUN_API_URL):
        yield "MAILGUN_API_URL: must be https, or http on this machine for a stand-in"
    for name, address in (
        ("BILLING_FROM_ADDRESS", env.BILLING_FROM_ADDRESS),
        ("BILLING_BCC_ADDRESS", env.BILLING_BCC_ADDRESS),
    ):
        if address and "@" not in parseaddr(address)[1]:
            yield f"{name}: is not an e-mail address"
    r2 = [env.R2_INVOICE_BUCKET, env.R2_ENDPOINT_URL, env.R2_ACCESS_KEY_ID, env.R2_SECRET_ACCESS_KEY]
    if any(r2) and not all(r2):
        yield (
            "R2_INVOICE_BUCKET, R2_ENDPOINT_URL, R2_ACCESS_KEY_ID and R2_SECRET_ACCESS_KEY go together: "
            "set all four, or none for files"
        )
    if env.R2_ENDPOINT_URL and not _is_https_or_loopback(env.R2_ENDPOINT_URL):
        yield "R2_ENDPOINT_URL: must be https, or http on this machine for a stand-in"


def _check_metering(env: Environment) -> Iterator[str]:
    if env.BILL_FROM and env.BILL_FROM.time() != time.min:
        yield "BILL_FROM must lie on a bucket bound: midnight UTC"
    if any(len(secret.get_secret_value()) < 32 for secret in env.SAMPLES_SECRET):
        yield "SAMPLES_SECRET: every secret needs 32 or more random characters"


def _check_parity(env: Environment) -> Iterator[str]:
    if any(len(secret.get_secret_value()) < 32 for secret in env.PARITY_SECRET):
        yield "PARITY_SECRET: every secret needs 32 or more random characters"
    if env.PARITY_URL and (not _is_https_or_loopback(env.PARITY_URL) or "?" in env.PARITY_URL):
        yield "PARITY_URL: must be https (or http on this machine), without a query"
    if env.PARITY_SOURCE == "http" and not (env.PARITY_URL and env.PARITY_SECRET):
        yield "PARITY_SOURCE is http: set PARITY_URL and PARITY_SECRET too"
    if env.PARITY_SOURCE == "redshift" and not env.REDSHIFT_DATABASE_URL:
        yield "PARITY_SOURCE is redshift: set REDSHIFT_DATABASE_URL too"
    meters = [text.partition("=")[0] for text in env.PARITY_TOLERANCE]
    is_readable = all(_TOLERANCE.fullmatch(text) for text in env.PARITY_TOLERANCE)
    if not is_readable or len(meters) != len(set(meters)):
        yield "PARITY_TOLERANCE: write percent once by meter, like gb_seconds=0.5 or gb_seconds=0.5/0.1"


def _check_production(env: Environment) -> Iterator[str]:
    needs = {
        "DATABASE_URL: production needs MySQL or MariaDB, like mysql://user:password@host/name": (
            not env.database_url.startswith("sqlite")
        ),
        "LEGACY_DATABASE_URL: production needs the old service's database": bool(env.LEGACY_DATABASE_URL),
        "CELERY_BROKER_URL: production needs redis:// or amqp://": bool(env.CELERY_BROKER_URL),
        "STRIPE_SECRET_KEY: production needs a live key (a restricted one will do)": env.has_live_key,
        "STRIPE_API_BASE is the sandbox: unset it in production": not env.uses_sandbox,
        "MAILGUN_API_KEY and MAILGUN_DOMAIN: production needs them, or no invoice reaches a customer": bool(
            env.MAILGUN_API_KEY
        ),
        "MAILGUN_WEBHOOK_SIGNING_KEY: production needs it, or deliveries can't be tracked": bool(
            env.MAILGUN_WEBHOOK_SIGNING_KEY
        ),
        "BILLING_BCC_ADDRESS: production needs the CRM's address": bool(env.BILLING_BCC_ADDRESS),
        "R2_INVOICE_BUCKET, R2_ENDPOINT_URL, R2_ACCESS_KEY_ID, R2_SECRET_ACCESS_KEY: production keeps PDFs in R2": bool(
            env.R2_INVOICE_BUCKET
        ),
        "PUBLIC_URL: production is served over https": env.PUBLIC_URL.startswith("https://"),
        "ALLOWED_HOSTS: production names its hosts; * would let anyone choose the links in mails": (
            "*" not in env.ALLOWED_HOSTS
        ),
    }
    if env.is_production:
        yield from (problem for problem, is_met in needs.items() if not is_met)


_CHECKS: Final[tuple[Callable[[Environment], Iterator[str]], ...]] = (
    _check_process,
    _check_stripe,
    _check_data,
    _check_delivery,
    _check_metering,
    _check_parity,
    _check_production,
)


def _is_https_or_loopback(address: str) -> bool:
    parts = split_address(address)
    if parts is None or not parts.hostname:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in LOOPBACK)


def _is_allowed_host(host: str, allowed: list[str]) -> bool:
    return any(
        pattern in {"*", host} or (pattern.startswith(".") and host.endswith(pattern)) for pattern in allowed
    )
