"""What the environment may say, one test for each thing that it may not."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from billing_worker.env import ConfigurationError, Environment, load_environment, make_var_dir

GOOD = {"STRIPE_WEBHOOK_SECRET": "whsec_one"}
PRODUCTION = {
    "ENVIRONMENT": "production",
    "DJANGO_SECRET_KEY": "k" * 50,
    "ALLOWED_HOSTS": "billing.example.com",
    "PUBLIC_URL": "https://billing.example.com",
    "DATABASE_URL": "mysql://worker:hunter2@db.example.com/billing",
    "LEGACY_DATABASE_URL": "mysql://reader:hunter2@old.example.com/billing_service",
    "CELERY_BROKER_URL": "rediss://:hunter2@redis.example.com/0",
    "STRIPE_SECRET_KEY": "rk_live_hunter2",
    "STRIPE_WEBHOOK_SECRET": "whsec_one",
    "MAILGUN_API_KEY": "hunter2",
    "MAILGUN_DOMAIN": "mg.example.com",
    "MAILGUN_WEBHOOK_SIGNING_KEY": "hunter2",
    "BILLING_BCC_ADDRESS": "crm@example.com",
    "R2_INVOICE_BUCKET": "invoices",
    "R2_ENDPOINT_URL": "https://r2.example.com",
    "R2_ACCESS_KEY_ID": "hunter2",
    "R2_SECRET_ACCESS_KEY": "hunter2",
}


def find_problems(**environ: str) -> list[str]:
    with pytest.raises(ConfigurationError) as refused:
        load_environment(environ)
    assert "hunter2" not in str(refused.value)
    return refused.value.problems


def test_the_webhook_secret_is_all_that_is_needed_to_start():
    env = load_environment(GOOD)
    assert env.SHADOW is True
    assert env.database_url.endswith("/var/db.sqlite3")
    assert find_problems() == [
        "STRIPE_WEBHOOK_SECRET is missing: give the endpoint's whsec_ secret (several: comma separated)"
    ]


def test_a_whole_production_environment():
    env = load_environment(PRODUCTION)
    assert (env.is_production, env.has_live_key, env.uses_sandbox) == (True, True, False)


def test_lists_blanks_and_instants():
    env = load_environment(
        {
            "STRIPE_WEBHOOK_SECRET": "whsec_one, whsec_two,",
            "ALLOWED_HOSTS": " 127.0.0.1 , .example.com",
            "STRIPE_TIMEOUT_SECONDS": "",
            "DATABASE_URL": " ",
            "BILL_FROM": "2026-10-01T02:00:00+02:00",
        }
    )
    assert [secret.get_secret_value() for secret in env.STRIPE_WEBHOOK_SECRET] == ["whsec_one", "whsec_two"]
    assert env.ALLOWED_HOSTS == ["127.0.0.1", ".example.com"]
    assert (env.STRIPE_TIMEOUT_SECONDS, env.DATABASE_URL) == (20, None)
    assert datetime(2026, 10, 1, tzinfo=UTC) == env.BILL_FROM


@pytest.mark.parametrize(
    ("text", "shadow"),
    [("false", False), ("False", True), ("0", True), ("no", True), ("", True), ("true", True)],
)
def test_only_the_word_false_ends_the_shadow(text, shadow):
    assert load_environment({**GOOD, "STRIPE_SECRET_KEY": "sk_test_1", "SHADOW": text}).SHADOW is shadow


def test_every_malformed_value_is_told_at_once_and_none_is_shown():
    problems = find_problems(
        ENVIRONMENT="hunter2", LOG_LEVEL="hunter2", USAGE_GRACE_MINUTES="-1", STRIPE_TIMEOUT_SECONDS="hunter2",
        METER_EVENTS_PER_SECOND="0", DEBUG="hunter2", BILL_FROM="hunter2",
    )  # fmt: skip
    assert problems == [
        "ENVIRONMENT: input should be 'local', 'staging' or 'production'",
        "DEBUG: input should be a valid boolean, unable to interpret input",
        "LOG_LEVEL: input should be 'DEBUG', 'INFO', 'WARNING' or 'ERROR'",
        "STRIPE_TIMEOUT_SECONDS: input should be a valid integer, unable to parse string as an integer",
        "BILL_FROM: not an instant like 2026-10-01T00:00:00Z",
        "METER_EVENTS_PER_SECOND: input should be greater than 0",
        "USAGE_GRACE_MINUTES: input should be greater than or equal to 0",
    ]


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"DEBUG": "true", "DATABASE_URL": "mysql://u:hunter2@h/n"}, "DEBUG is on with a server database"),
        ({"DEBUG": "true", "ENVIRONMENT": "staging", "DJANGO_SECRET_KEY": "k" * 50}, "DEBUG is on"),
        ({"ENVIRONMENT": "staging"}, "DJANGO_SECRET_KEY: staging needs 50 or more"),
        ({"PUBLIC_URL": "billing.example.com"}, "PUBLIC_URL: must be an address"),
        ({"PUBLIC_URL": "http://[::1"}, "PUBLIC_URL: must be an address"),
        ({"PUBLIC_URL": "https://billing.example.com"}, "which ALLOWED_HOSTS does not list"),
        ({"STRIPE_SECRET_KEY": "pk_test_hunter2"}, "STRIPE_SECRET_KEY: not a secret or restricted key"),
        ({"STRIPE_SECRET_KEY": "sk_live_hunter2"}, "STRIPE_SECRET_KEY is a live key: set ENVIRONMENT=production"),
        ({"SHADOW": "false"}, "SHADOW is false but there is no STRIPE_SECRET_KEY"),
        ({"STRIPE_API_BASE": "http://api.example.com"}, "STRIPE_API_BASE: must be https"),
        ({"STRIPE_API_BASE": "ftp://127.0.0.1"}, "STRIPE_API_BASE: must be https"),
        ({"STRIPE_WEBHOOK_SECRET": "whsec_one,hunter2"}, "STRIPE_WEBHOOK_SECRET: every secret begins with whsec_"),
        ({"DATABASE_URL": "postgresql://u:hunter2@h/n"}, "DATABASE_URL: must be an address that begins with mysql"),
        ({"DATABASE_URL": "mysql://u:hunter2@h:port/n"}, "DATABASE_URL: must be an address"),
        ({"DATABASE_URL": "mysql://u:hunter2@h"}, "DATABASE_URL: names no database"),
        ({"LEGACY_DATABASE_URL": "oracle://h/n"}, "LEGACY_DATABASE_URL: must be an address"),
        ({"REDSHIFT_DATABASE_URL": "mysql://h/n"}, "REDSHIFT_DATABASE_URL: must be an address that begins with"),
        ({"CELERY_BROKER_URL": "kafka://h"}, "CELERY_BROKER_URL: must be an address that begins with redis"),
        (
            {"DATABASE_URL": "mysql://h/n", "LEGACY_DATABASE_URL": "mysql://h/n"},
            "DATABASE_URL and LEGACY_DATABASE_URL are the same",
        ),
        ({"MAILGUN_API_KEY": "hunter2"}, "MAILGUN_API_KEY and MAILGUN_DOMAIN go together"),
        ({"MAILGUN_DOMAIN": "mg.example.com"}, "MAILGUN_API_KEY and MAILGUN_DOMAIN go together"),
        ({"MAILGUN_API_URL": "http://mail.example.com"}, "MAILGUN_API_URL: must be https"),
        ({"BILLING_FROM_ADDRESS": "Billing"}, "BILLING_FROM_ADDRESS: is not an e-mail address"),
        ({"BILLING_BCC_ADDRESS": "crm"}, "BILLING_BCC_ADDRESS: is not an e-mail address"),
        ({"R2_INVOICE_BUCKET": "invoices"}, "R2_SECRET_ACCESS_KEY go together"),
        ({"R2_ENDPOINT_URL": "http://r2.example.com"}, "R2_ENDPOINT_URL: must be https"),
        ({"BILL_FROM": "2026-10-01T00:30:00Z"}, "BILL_FROM must lie on a bucket bound"),
        ({"BILL_FROM": "2026-10-01T05:00:00Z"}, "BILL_FROM must lie on a bucket bound"),
        ({"BILL_FROM": "2026-10-01T00:00:00"}, "BILL_FROM: give the zone too"),
    ],
)  # fmt: skip
def test_a_contradiction_stops_the_process(changes, problem):
    assert any(problem in found for found in find_problems(**{**GOOD, **changes}))


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        (
            {"STRIPE_API_BASE": "http://127.0.0.1:12111"},
            "STRIPE_SECRET_KEY is a live key but STRIPE_API_BASE is not",
        ),
        ({"STRIPE_API_BASE": "http://127.0.0.1:12111"}, "STRIPE_API_BASE is the sandbox"),
        ({"STRIPE_SECRET_KEY": "sk_test_hunter2"}, "STRIPE_SECRET_KEY: production needs a live key"),
        ({"STRIPE_SECRET_KEY": ""}, "STRIPE_SECRET_KEY: production needs a live key"),
        ({"DATABASE_URL": ""}, "DATABASE_URL: production needs MySQL"),
        ({"LEGACY_DATABASE_URL": ""}, "LEGACY_DATABASE_URL: production needs the old service"),
        ({"CELERY_BROKER_URL": ""}, "CELERY_BROKER_URL: production needs"),
        ({"DJANGO_SECRET_KEY": "short-hunter2"}, "DJANGO_SECRET_KEY: production needs 50"),
        ({"MAILGUN_API_KEY": "", "MAILGUN_DOMAIN": ""}, "or no invoice reaches a customer"),
        ({"MAILGUN_WEBHOOK_SIGNING_KEY": ""}, "deliveries can't be tracked"),
        ({"BILLING_BCC_ADDRESS": ""}, "BILLING_BCC_ADDRESS: production needs"),
        (
            {
                "R2_INVOICE_BUCKET": "",
                "R2_ENDPOINT_URL": "",
                "R2_ACCESS_KEY_ID": "",
                "R2_SECRET_ACCESS_KEY": "",
            },
            "production keeps PDFs in R2",
        ),
        ({"PUBLIC_URL": "http://billing.example.com"}, "PUBLIC_URL: production is served over https"),
        ({"ALLOWED_HOSTS": "*"}, "ALLOWED_HOSTS: production names its hosts"),
        ({"DEBUG": "1"}, "DEBUG is on"),
    ],
)
def test_production_insists(changes, problem):
    assert any(problem in found for found in find_problems(**{**PRODUCTION, **changes}))


def test_subdomains_and_stars_are_hosts_outside_production():
    for allowed in ("*", ".example.com", "billing.example.com"):
        env = load_environment(
            {**GOOD, "PUBLIC_URL": "https://billing.example.com", "ALLOWED_HOSTS": allowed}
        )
        assert [allowed] == env.ALLOWED_HOSTS


def test_secrets_do_not_show_in_the_environment_s_text():
    assert "hunter2" not in repr(load_environment({**GOOD, "STRIPE_SECRET_KEY": "sk_test_hunter2"}))


def test_a_var_dir_that_cannot_be_made_is_a_problem_like_others(tmp_path):
    (tmp_path / "file").write_text("")
    env = Environment.model_validate({"VAR_DIR": tmp_path / "file" / "var"})
    with pytest.raises(ConfigurationError, match="VAR_DIR: Not a directory"):
        make_var_dir(env)
