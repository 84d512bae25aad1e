"""Configuration: every setting comes from the environment, typed and checked before anything starts.

`load_environment()` is called once by the settings. It never stops at the first problem: `ConfigurationError` lists
them all, each with its fix. `docs/settings.md` and `.env.example` are held against `Environment` by a test.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

BASE_DIR = Path(__file__).resolve().parent.parent
LIVE_STRIPE = "https://api.stripe.com"


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
    moment = datetime.fromisoformat(value)
    if moment.tzinfo is None:
        raise ValueError("give the zone too, like 2026-10-01T00:00:00Z")
    return moment.astimezone(UTC)


def _blank_is_none(value: object) -> object:
    return None if value == "" else value


TextList = Annotated[list[str], NoDecode, BeforeValidator(_split)]
SecretList = Annotated[list[SecretStr], NoDecode, BeforeValidator(_split)]
OptionalSecret = Annotated[SecretStr | None, BeforeValidator(_blank_is_none)]
OptionalText = Annotated[str | None, BeforeValidator(_blank_is_none)]


class Environment(BaseSettings):
    """Every environment variable that the project reads, with type, default and meaning."""

    model_config = SettingsConfigDict(case_sensitive=True, extra="ignore", hide_input_in_errors=True)

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
    DATABASE_URL: OptionalText = Field(
        None,
        description="Our database: `mysql://user:password@host/name` in production; empty = SQLite under `VAR_DIR`.",
    )
    LEGACY_DATABASE_URL: OptionalText = Field(
        None,
        description="The old billing service's database, read only; empty = `legacy.sqlite3` under `VAR_DIR`.",
    )
    REDSHIFT_DATABASE_URL: OptionalText = Field(
        None,
        description="`postgresql://` address of the warehouse that holds `impressions_daily`; empty = none.",
    )
    CELERY_BROKER_URL: OptionalText = Field(
        None,
        description="`redis://` or `amqp://` in production; empty = files under `VAR_DIR`, which needs no server.",
    )

    # -- Stripe ------------------------------------------------------------------------------------------------------
    STRIPE_SECRET_KEY: OptionalSecret = Field(
        None, description="Secret or restricted key. Empty: everything is computed and nothing is sent."
    )
    STRIPE_WEBHOOK_SECRET: SecretList = Field(
        default_factory=list,
        description="Webhook signing secrets, comma separated; any may match, so rotation needs no gap.",
    )
    STRIPE_API_BASE: str = Field(
        LIVE_STRIPE, description="Stripe's API, or the sandbox (`http://127.0.0.1:12111`)."
    )
    STRIPE_TIMEOUT_SECONDS: int = Field(
        20, ge=1, le=80, description="Seconds until a call to Stripe is given up."
    )
    STRIPE_WEBHOOK_TOLERANCE_SECONDS: int = Field(
        300, ge=1, le=3600, description="Greatest age of a webhook's signature, in seconds."
    )

    # -- mail --------------------------------------------------------------------------------------------------------
    MAILGUN_API_KEY: OptionalSecret = Field(
        None, description="Mailgun's sending key. Empty: mail is written as `.eml` files."
    )
    MAILGUN_DOMAIN: OptionalText = Field(None, description="The sending domain registered with Mailgun.")
    MAILGUN_API_URL: str = Field(
        "https://api.mailgun.net/v3", description="Mailgun's API (the EU region has another)."
    )
    MAILGUN_WEBHOOK_SIGNING_KEY: OptionalSecret = Field(
        None, description="Key that signs Mailgun's delivery webhooks."
    )
    BILLING_BCC_ADDRESS: OptionalText = Field(
        None, description="Receives a blind copy of every invoice mail (the CRM)."
    )
    BILLING_FROM_ADDRESS: str = Field("billing-noreply@example.com", description="Sender of invoice mails.")
    MAIL_ALLOWLIST: TextList = Field(
        default_factory=lambda: ["example.com"],
        description="Outside production, domains (subdomains included) that mail may go to through Mailgun.",
    )

    # -- storage -----------------------------------------------------------------------------------------------------
    R2_INVOICE_BUCKET: OptionalText = Field(
        None, description="Bucket for invoice PDFs. Empty: files under `VAR_DIR`."
    )
    R2_ENDPOINT_URL: OptionalText = Field(None, description="S3 endpoint of the account's R2 storage.")
    R2_ACCESS_KEY_ID: OptionalText = Field(None, description="R2 access key id.")
    R2_SECRET_ACCESS_KEY: OptionalSecret = Field(None, description="R2 secret access key.")

    # -- metering ----------------------------------------------------------------------------------------------------
    SHADOW: Annotated[bool, NoDecode, BeforeValidator(_parse_shadow)] = Field(
        True, description="Compute meter events and send none. On unless exactly `false`."
    )
    BILL_FROM: Annotated[datetime | None, BeforeValidator(_parse_instant)] = Field(
        None, description="First instant whose usage goes to Stripe, ISO 8601 with zone, on a bucket bound."
    )
    METER_EVENTS_PER_SECOND: Decimal = Field(
        Decimal(1000), gt=0, description="Rate limit of meter events sent to Stripe."
    )
    USAGE_GRACE_MINUTES: int = Field(
        60, ge=0, description="Minutes after a day's end until its usage is rolled up."
    )

    # -- operations --------------------------------------------------------------------------------------------------
    SLACK_WEBHOOK_URL: OptionalSecret = Field(
        None, description="Incoming webhook that receives alerts. Empty: log only."
    )
    BRAND_NAME: str = Field("Lumenade Media, Inc.", description="The seller's name on invoices and mails.")

    @classmethod
    def settings_customise_sources(
        cls, settings_cls: type[BaseSettings], init_settings: PydanticBaseSettingsSource, **_: Any
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (init_settings,)

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
    def uses_sandbox(self) -> bool:
        return urlsplit(self.STRIPE_API_BASE).hostname in {"127.0.0.1", "localhost", "::1"}


def load_environment(environ: Mapping[str, str]) -> Environment:
    """Read and check the environment.

    Raises:
        ConfigurationError: with every malformed, missing or contradictory setting. Values are never shown.
    """
    known = {name: environ[name] for name in Environment.model_fields if name in environ}
    try:
        env = Environment(**known)  # type: ignore[arg-type]
    except ValidationError as error:
        raise ConfigurationError(
            [f"{'.'.join(str(part) for part in item['loc'][:1])}: {item['msg']}" for item in error.errors()]
        ) from None
    problems = _find_contradictions(env)
    if problems:
        raise ConfigurationError(problems)
    return env


def _find_contradictions(env: Environment) -> list[str]:
    return [
        *_check_stripe(env),
        *_check_services(env),
        *(_check_production(env) if env.is_production else []),
        *(_check_debug(env) if env.DEBUG else []),
    ]


def _check_stripe(env: Environment) -> list[str]:
    problems = []
    key = env.STRIPE_SECRET_KEY.get_secret_value() if env.STRIPE_SECRET_KEY else ""
    if key and not key.startswith(("sk_test_", "rk_test_", "sk_live_", "rk_live_")):
        problems.append(
            "STRIPE_SECRET_KEY: not a secret or restricted key; it begins with sk_ or rk_ and test or live"
        )
    is_live = key.startswith(("sk_live_", "rk_live_"))
    if is_live and env.STRIPE_API_BASE.rstrip("/") != LIVE_STRIPE:
        problems.append(
            f"STRIPE_SECRET_KEY is a live key but STRIPE_API_BASE is not {LIVE_STRIPE}: use a test key with the sandbox, or unset STRIPE_API_BASE"
        )
    if is_live and not env.is_production:
        problems.append("STRIPE_SECRET_KEY is a live key: set ENVIRONMENT=production or use a test key")
    if urlsplit(env.STRIPE_API_BASE).scheme not in {"http", "https"} or (
        urlsplit(env.STRIPE_API_BASE).scheme == "http" and not env.uses_sandbox
    ):
        problems.append("STRIPE_API_BASE: must be https, or http on this machine for the sandbox")
    if not env.STRIPE_WEBHOOK_SECRET:
        problems.append(
            "STRIPE_WEBHOOK_SECRET is missing: give the endpoint's whsec_ secret (several: comma separated)"
        )
    elif any(not secret.get_secret_value().startswith("whsec_") for secret in env.STRIPE_WEBHOOK_SECRET):
        problems.append("STRIPE_WEBHOOK_SECRET: every secret begins with whsec_")
    return problems


def _check_services(env: Environment) -> list[str]:
    problems = []
    if bool(env.MAILGUN_API_KEY) != bool(env.MAILGUN_DOMAIN):
        problems.append("MAILGUN_API_KEY and MAILGUN_DOMAIN go together: set both, or neither for .eml files")
    r2 = [env.R2_INVOICE_BUCKET, env.R2_ENDPOINT_URL, env.R2_ACCESS_KEY_ID, env.R2_SECRET_ACCESS_KEY]
    if any(r2) and not all(r2):
        problems.append(
            "R2_INVOICE_BUCKET, R2_ENDPOINT_URL, R2_ACCESS_KEY_ID and R2_SECRET_ACCESS_KEY go together: set all four, or none for files"
        )
    for name, url, schemes in (
        ("DATABASE_URL", env.database_url, ("mysql", "sqlite")),
        ("LEGACY_DATABASE_URL", env.legacy_database_url, ("mysql", "sqlite")),
        (
            "REDSHIFT_DATABASE_URL",
            env.REDSHIFT_DATABASE_URL or "postgresql:",
            ("postgresql", "postgres", "redshift"),
        ),
    ):
        if urlsplit(url).scheme not in schemes:
            problems.append(
                f"{name}: the address must begin with {' or '.join(f'{scheme}://' for scheme in schemes)}"
            )
    if env.BILL_FROM and (env.BILL_FROM.minute or env.BILL_FROM.second or env.BILL_FROM.microsecond):
        problems.append("BILL_FROM must lie on a bucket bound: a full hour")
    return problems


def _check_debug(env: Environment) -> list[str]:
    if env.ENVIRONMENT != "local" or not env.database_url.startswith("sqlite"):
        return [
            "DEBUG is on with a server database or outside local: unset DEBUG, its pages show data and settings"
        ]
    return []


def _check_production(env: Environment) -> list[str]:
    problems = []
    if len(env.DJANGO_SECRET_KEY.get_secret_value()) < 50:
        problems.append("DJANGO_SECRET_KEY: production needs 50 or more random characters")
    if env.database_url.startswith("sqlite"):
        problems.append(
            "DATABASE_URL: production needs MySQL or MariaDB, like mysql://user:password@host/name"
        )
    if not env.CELERY_BROKER_URL:
        problems.append("CELERY_BROKER_URL: production needs redis:// or amqp://")
    if not env.MAILGUN_API_KEY:
        problems.append(
            "MAILGUN_API_KEY and MAILGUN_DOMAIN: production needs them, or no invoice reaches a customer"
        )
    if not env.MAILGUN_WEBHOOK_SIGNING_KEY:
        problems.append("MAILGUN_WEBHOOK_SIGNING_KEY: production needs it, or deliveries can't be tracked")
    if not env.BILLING_BCC_ADDRESS:
        problems.append("BILLING_BCC_ADDRESS: production needs the CRM's address")
    if not env.R2_INVOICE_BUCKET:
        problems.append("R2_INVOICE_BUCKET and its three companions: production keeps PDFs in R2")
    if env.uses_sandbox:
        problems.append("STRIPE_API_BASE is the sandbox: unset it in production")
    if not env.PUBLIC_URL.startswith("https://"):
        problems.append("PUBLIC_URL: production is served over https")
    return problems
