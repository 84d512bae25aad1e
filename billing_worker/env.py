"""Configuration: every setting comes from the environment, typed and checked before anything starts.

`load_environment()` is called once by the settings. It never stops at the first problem: `ConfigurationError` lists
them all, each with its fix. `docs/settings.md` and `.env.example` are held against `Environment` by a test.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Literal

from django.conf import settings
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidationError
from pydantic_core import ErrorDetails

from billing_worker.contradictions import (
    LIVE_METER_EVENTS,
    LIVE_STRIPE,
    LOOPBACK,
    find_contradictions,
    split_address,
)

BASE_DIR = Path(__file__).resolve().parent.parent


class ConfigurationError(Exception):
    """The environment can't be used. `problems` holds one line for each thing to fix."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        lines = "\n".join(f"  - {problem}" for problem in problems)
        super().__init__(
            f"The configuration has {len(problems)} problem(s); docs/settings.md explains each setting:\n{lines}"
        )


def _split(value: object) -> object:
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return value


def _parse_shadow(value: object) -> bool:
    """Shadow is the safe side: only the exact word `false` turns it off."""
    return value is not False and value != "false"


def _parse_instant(value: object) -> object:
    if not isinstance(value, str):
        return value
    if not value:
        return None
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        raise ValueError("not an instant like 2026-10-01T00:00:00Z") from None
    if moment.tzinfo is None:
        raise ValueError("give the zone too, like 2026-10-01T00:00:00Z")
    return moment.astimezone(UTC)


TextList = Annotated[list[str], BeforeValidator(_split)]
SecretList = Annotated[list[SecretStr], BeforeValidator(_split)]


class Environment(BaseModel):
    """Every environment variable that the project reads, with type, default and meaning."""

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    # -- process -----------------------------------------------------------------------------------------------------
    ENVIRONMENT: Literal["local", "staging", "production"] = Field(
        "local",
        description="Where this runs. `production` forbids DEBUG, SQLite, test keys and default secrets.",
    )
    DEBUG: bool = Field(False, description="Django's debug pages. Only with `ENVIRONMENT=local` and SQLite.")
    DJANGO_SECRET_KEY: SecretStr = Field(
        SecretStr("local-only-not-a-secret"),
        description="Django's signing key: 50 or more random characters.",
    )
    ALLOWED_HOSTS: TextList = Field(
        ["127.0.0.1", "localhost"], description="Host names served, comma separated."
    )
    PUBLIC_URL: str = Field(
        "http://127.0.0.1:8000", description="Address of this service as people and webhooks reach it."
    )
    VAR_DIR: Path = Field(BASE_DIR / "var", description="Where the embedded default keeps its files.")
    LOG_LEVEL: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", description="Least severe log level written."
    )
    LOG_FORMAT: Literal["console", "json"] = Field(
        "console", description="Log lines for a terminal or for a collector."
    )

    # -- data and queue ----------------------------------------------------------------------------------------------
    DATABASE_URL: str | None = Field(
        None,
        description="Our database: `mysql://user:password@host/name` in production; empty = SQLite under `VAR_DIR`.",
    )
    LEGACY_DATABASE_URL: str | None = Field(
        None,
        description="The old billing service's database, read only; empty = `legacy.sqlite3` under `VAR_DIR`.",
    )
    REDSHIFT_DATABASE_URL: str | None = Field(
        None,
        description="`postgresql://` address of the warehouse that holds `impressions_daily`; empty = none.",
    )
    CELERY_BROKER_URL: str | None = Field(
        None,
        description="`redis://` or `amqp://` in production; empty = files under `VAR_DIR`, which needs no server.",
    )

    # -- Stripe ------------------------------------------------------------------------------------------------------
    STRIPE_SECRET_KEY: SecretStr | None = Field(
        None, description="Secret or restricted key. Empty: everything is computed and nothing is sent."
    )
    STRIPE_WEBHOOK_SECRET: SecretList = Field(
        default_factory=list,
        description="Webhook signing secrets, comma separated; any may match, so rotation needs no gap.",
    )
    STRIPE_API_BASE: str = Field(
        LIVE_STRIPE, description="Stripe's API, or the sandbox (`http://127.0.0.1:12111`)."
    )
    STRIPE_METER_EVENTS_BASE: str | None = Field(
        None,
        description="Address of the meter event stream; empty = Stripe's own, or `STRIPE_API_BASE`.",
    )
    STRIPE_TIMEOUT_SECONDS: int = Field(
        20, ge=1, le=80, description="Seconds until a call to Stripe is given up."
    )
    STRIPE_WEBHOOK_TOLERANCE_SECONDS: int = Field(
        300, ge=1, le=3600, description="Greatest age of a webhook's signature, in seconds."
    )

    # -- mail --------------------------------------------------------------------------------------------------------
    MAILGUN_API_KEY: SecretStr | None = Field(
        None, description="Mailgun's sending key. Empty: mail is written as `.eml` files."
    )
    MAILGUN_DOMAIN: str | None = Field(None, description="The sending domain registered with Mailgun.")
    MAILGUN_API_URL: str = Field(
        "https://api.mailgun.net/v3", description="Mailgun's API (the EU region has another)."
    )
    MAILGUN_WEBHOOK_SIGNING_KEY: SecretStr | None = Field(
        None, description="Key that signs Mailgun's delivery webhooks."
    )
    BILLING_BCC_ADDRESS: str | None = Field(
        None, description="Receives a blind copy of every invoice mail (the CRM)."
    )
    BILLING_FROM_ADDRESS: str = Field("billing-noreply@example.com", description="Sender of invoice mails.")
    MAIL_ALLOWLIST: TextList = Field(
        default_factory=lambda: ["example.com"],
        description="Outside production, domains (subdomains included) that mail may go to through Mailgun.",
    )
    UNKNOWN_MAIL_POLICY: Literal["ask", "assume_sent", "resend"] = Field(
        "ask",
        description="What becomes of a mail that nobody knows the outcome of: a person decides, or it counts as sent, "
        "or it is sent again if the mail service reported nothing about it (needs `MAILGUN_WEBHOOK_SIGNING_KEY`).",
    )
    UNKNOWN_MAIL_HOURS: int = Field(
        24,
        ge=1,
        le=240,
        description="Hours that the mail service's word is waited for before that policy acts.",
    )

    # -- storage -----------------------------------------------------------------------------------------------------
    R2_INVOICE_BUCKET: str | None = Field(
        None, description="Bucket for invoice PDFs. Empty: files under `VAR_DIR`."
    )
    R2_ENDPOINT_URL: str | None = Field(None, description="S3 endpoint of the account's R2 storage.")
    R2_ACCESS_KEY_ID: str | None = Field(None, description="R2 access key id.")
    R2_SECRET_ACCESS_KEY: SecretStr | None = Field(None, description="R2 secret access key.")
    DOWNLOAD_URL_SECONDS: int = Field(
        120, ge=1, le=3600, description="Seconds that a link to a stored PDF is good for."
    )

    # -- metering ----------------------------------------------------------------------------------------------------
    SHADOW: Annotated[bool, BeforeValidator(_parse_shadow)] = Field(
        True, description="Compute meter events and send none. On unless exactly `false`."
    )
    BILL_FROM: Annotated[datetime | None, BeforeValidator(_parse_instant)] = Field(
        None, description="First instant whose usage goes to Stripe, ISO 8601 with zone, on a bucket bound."
    )
    METER_EVENTS_TRANSPORT: Literal["v1", "v2"] = Field(
        "v1", description="`v1`: each meter event is a request. `v2`: the stream, up to 100 in a request."
    )
    METER_EVENTS_PER_SECOND: Decimal = Field(
        Decimal(1000), gt=0, description="Rate limit of meter events, of all senders together."
    )
    USAGE_GRACE_MINUTES: int = Field(
        60, ge=0, description="Minutes after a day's end until its usage is rolled up."
    )
    USAGE_OVERDUE_HOURS: int = Field(
        12, ge=1, description="Hours after a day's end until a day that the warehouse lacks raises an alert."
    )
    SAMPLES_SECRET: SecretList = Field(
        default_factory=list,
        description="Secrets that sign samples, comma separated: any matches. Empty: no samples are taken.",
    )
    SAMPLES_KEEP_DAYS: int = Field(
        400, ge=40, description="Days that samples are kept. What they came to is kept for good."
    )
    DRAFT_HOLD: bool = Field(
        True, description="Hold draft invoices until their month's usage is complete and sent."
    )
    DRAFT_HOLD_DEADLINE_HOURS: int = Field(
        48, ge=1, le=720, description="Hours after its creation until a held draft raises an alert."
    )
    DRAFT_HOLD_AFTER_DEADLINE: Literal["release", "keep"] = Field(
        "release", description="Then `release` the draft as it is, or `keep` it held."
    )
    PARITY_SECRET: SecretList = Field(
        default_factory=list,
        description="Secrets shared with the other side, comma separated: any matches, the first signs. Empty: none.",
    )
    PARITY_SOURCE: Literal["http", "redshift"] | None = Field(
        None, description="What usage is compared with every hour; empty = nothing."
    )
    PARITY_URL: str | None = Field(
        None, description="The other side's `usage-parity` address, without a query."
    )
    PARITY_SETTLE_HOURS: int = Field(
        12, ge=1, le=240, description="Hours after a day's end until it is compared."
    )
    PARITY_CLEAN_HOURS: int = Field(
        24,
        ge=1,
        le=24 * 31,
        description="Hours of clean parity that a cohort's gate asks for. Only where PARITY_SOURCE is set.",
    )
    PARITY_TOLERANCE: TextList = Field(
        default_factory=list,
        description="Percent that a meter may differ by: `gb_seconds=0.5`, with the total's own `gb_seconds=0.5/0.1`.",
    )

    # -- operations --------------------------------------------------------------------------------------------------
    SLACK_WEBHOOK_URL: SecretStr | None = Field(
        None, description="Incoming webhook that receives alerts. Empty: log only."
    )
    BRAND_NAME: str = Field("Lumenade Media, Inc.", description="The seller's name on invoices and mails.")
    INVOICE_RECEIPTS: bool = Field(
        True,
        description="Whether a payment of an invoice is answered with a receipt by mail. Stripe can mail receipts too: "
        "leave one of them on.",
    )
    INVOICE_TEMPLATE_VERSION: str = Field(
        "3",
        pattern="^[a-z0-9-]{1,16}$",
        description="Folder in `templates/invoices/pdf/` that new documents are made with.",
    )

    @property
    def is_production(self) -> bool:
        return self.ENVIRONMENT == "production"

    @property
    def database_url(self) -> str:
        return self.DATABASE_URL or f"sqlite:///{self.VAR_DIR / 'db.sqlite3'}"

    @property
    def legacy_database_url(self) -> str:
        return self.LEGACY_DATABASE_URL or f"sqlite:///{self.VAR_DIR / 'legacy.sqlite3'}"

    @property
    def meter_events_base(self) -> str:
        """Where the meter event stream is, without a slash at its end."""
        base = self.STRIPE_API_BASE.rstrip("/")
        default = LIVE_METER_EVENTS if base == LIVE_STRIPE else base
        return (self.STRIPE_METER_EVENTS_BASE or default).rstrip("/")

    @property
    def uses_sandbox(self) -> bool:
        """Whether Stripe is spoken to on this machine."""
        parts = split_address(self.STRIPE_API_BASE)
        return parts is not None and parts.hostname in LOOPBACK

    @property
    def has_live_key(self) -> bool:
        """Whether the key moves real money."""
        key = self.STRIPE_SECRET_KEY
        return key is not None and key.get_secret_value().startswith(("sk_live_", "rk_live_"))


def load_environment(environ: Mapping[str, str]) -> Environment:
    """Read and check the environment. A variable that is set to nothing counts as not set.

    Raises:
        ConfigurationError: with every malformed, missing or contradictory setting. Values of secrets are never shown.
    """
    known = {
        name: environ[name].strip() for name in Environment.model_fields if environ.get(name, "").strip()
    }
    try:
        env = Environment.model_validate(known)
    except ValidationError as error:
        raise ConfigurationError([_describe_error(item) for item in error.errors()]) from None
    problems = find_contradictions(env)
    if problems:
        raise ConfigurationError(problems)
    return env


def exit_if_unusable(exit_code: int = 2) -> None:
    """Load Django's settings; if the environment can't be used, print the problems and end the process."""
    try:
        _ = settings.ENV
    except ConfigurationError as error:
        print(error, file=sys.stderr)  # noqa: T201
        raise SystemExit(exit_code) from None


def make_var_dir(env: Environment) -> None:
    """Create `VAR_DIR`.

    Raises:
        ConfigurationError: it can't be created or written to.
    """
    try:
        env.VAR_DIR.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError([f"VAR_DIR: {error.strerror}: {env.VAR_DIR}"]) from None
    if not os.access(env.VAR_DIR, os.W_OK):
        raise ConfigurationError([f"VAR_DIR: this user can't write to {env.VAR_DIR}"])


def _describe_error(item: ErrorDetails) -> str:
    message = item["msg"].removeprefix("Value error, ")
    return f"{item['loc'][0]}: {message[:1].lower()}{message[1:]}"
