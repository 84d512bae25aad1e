from __future__ import annotations

from datetime import date, timedelta
from urllib.parse import urlsplit

import pytest
from django.utils import timezone
from pydantic import SecretStr

from billing_worker.contradictions import find_contradictions
from billing_worker.env import Environment
from metering.models import ParityCheck
from metering.parity.comparison import Tolerances
from metering.parity.services import run_check
from metering.parity.signatures import sign_target
from metering.parity.sources import HttpParitySource
from metering.parity.windows import Window
from metering.services.ingest import store_usage
from tests.factories import AccountFactory
from tests.metering.factories import NOW, make_input

SECRET = "invented-secret-of-two-sides-0001"
OLD_SECRET = "invented-secret-of-two-sides-0000"
PATH = "/internal/usage-parity"
DAY = f"{PATH}?from=2026-10-05&to=2026-10-06"


@pytest.fixture(autouse=True)
def secrets(settings):
    settings.ENV = settings.ENV.model_copy(
        update={"PARITY_SECRET": [SecretStr(SECRET), SecretStr(OLD_SECRET)]}
    )


@pytest.fixture
def usage(db):
    for number in (5002, 5001):
        AccountFactory.create(id=number)
    records = [
        make_input(5002, "2026-10-05", "CV", 9),
        make_input(5001, "2026-10-05", "ST", 70),
        make_input(5001, "2026-10-06", "ST", 1),
    ]
    store_usage(records=records, author="test", now=NOW)


def ask(client, target, *, signed=None, secret=SECRET, age=0):
    at = timezone.now() - timedelta(seconds=age)
    return client.get(target, headers=sign_target(target=signed or target, secret=secret, at=at))


@pytest.mark.parametrize("secret", [SECRET, OLD_SECRET])
def test_a_signed_caller_gets_the_quantities(client, usage, secret):
    answer = ask(client, DAY, secret=secret)

    assert answer.status_code == 200
    assert answer.json() == {
        "from": "2026-10-05T00:00:00Z",
        "to": "2026-10-06T00:00:00Z",
        "accounts": [
            {"account_id": 5001, "quantities": {"ST": 70}},
            {"account_id": 5002, "quantities": {"CV": 9}},
        ],
    }


def test_the_signature_is_a_known_one(client, usage):
    """Written out once, so that the other side can check its own."""
    headers = sign_target(target=DAY, secret=SECRET, at=NOW)

    assert headers == {
        "X-Timestamp": "1793707200",
        "X-Signature": "87825562fbce00cff663916cb84870b3d1a327194c4290890e08d2984d19b76c",
    }


@pytest.mark.parametrize(
    ("target", "options"),
    [
        (DAY, {"signed": f"{PATH}?from=2026-10-04&to=2026-10-06"}),
        (DAY, {"signed": PATH}),
        (DAY, {"secret": "another"}),
        (DAY, {"age": 302}),
        (DAY, {"age": -302}),
    ],
)
def test_another_query_secret_or_time_is_refused(client, target, options):
    answer = ask(client, target, **options)

    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "signature_refused")


@pytest.mark.parametrize("age", [298, -298])
def test_a_clock_may_be_off_by_some_minutes(client, usage, age):
    assert ask(client, DAY, age=age).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-Timestamp": "1793707200"},
        {"X-Timestamp": "٣", "X-Signature": "0" * 64},
        {"X-Timestamp": "9" * 5000, "X-Signature": "0" * 64},
        {"X-Timestamp": "1793707200", "X-Signature": "é" * 64},
        {"X-Timestamp": "1793707200", "X-Signature": "0" * 63},
    ],
)
def test_broken_headers_are_refused(client, headers):
    assert client.get(DAY, headers=headers).status_code == 401


@pytest.mark.parametrize(
    "query",
    [
        "",
        "?from=2026-10-05",
        "?from=2026-10-06&to=2026-10-05",
        "?from=2026-10-05&to=2027-10-05",
        "?from=%00&to=%ff",
    ],
)
def test_a_window_without_sense_is_a_422(client, query):
    assert ask(client, f"{PATH}{query}").status_code == 422


def test_without_a_secret_it_says_so(client, settings):
    settings.ENV = settings.ENV.model_copy(update={"PARITY_SECRET": []})

    answer = ask(client, DAY)

    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "parity_not_configured")


def compare_over_http(url, *, secret=SECRET, window=None):
    source = HttpParitySource(url=url, secret=secret, clock=timezone.now)
    window = window or Window.of_day(date(2026, 10, 5))
    return run_check(source=source, window=window, tolerances=Tolerances(), now=timezone.now())


@pytest.mark.django_db(transaction=True)
def test_two_sides_speak_to_each_other(live_server, usage):
    """Our own address as the other side: what it says is what our reader takes."""
    made = compare_over_http(f"{live_server.url}{PATH}")
    assert (made.detail, made.state, made.compared) == ("", "clean", 2)

    refused = compare_over_http(f"{live_server.url}{PATH}", secret="another")
    assert refused.state == "failed"
    assert "status 401" in refused.detail

    lost = compare_over_http(f"{live_server.url}/nowhere")
    assert "status 404" in lost.detail
    assert ParityCheck.objects.count() == 3


def test_nobody_there_is_a_failed_check(usage):
    made = compare_over_http(f"http://127.0.0.1:9{PATH}")

    assert (made.state, made.detail) == (
        "failed",
        f"http://127.0.0.1:9{PATH} can't be read (ConnectionError)",
    )


def test_the_address_without_a_path_is_signed_as_it_is_asked(usage):
    assert urlsplit("http://127.0.0.1:9").path == ""
    assert compare_over_http("http://127.0.0.1:9").state == "failed"


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"PARITY_SECRET": [SecretStr("short")]}, "PARITY_SECRET: every"),
        ({"PARITY_URL": "http://billing.example.com/x"}, "PARITY_URL: must be https"),
        ({"PARITY_URL": "https://billing.example.com/x?y=1"}, "PARITY_URL: must be https"),
        ({"PARITY_SOURCE": "http", "PARITY_SECRET": []}, "PARITY_SOURCE is http"),
        ({"PARITY_SOURCE": "redshift"}, "PARITY_SOURCE is redshift"),
        ({"PARITY_TOLERANCE": ["gb=x"]}, "PARITY_TOLERANCE: write"),
        ({"PARITY_TOLERANCE": ["gb=1", "gb=2"]}, "PARITY_TOLERANCE: write"),
    ],
)
def test_settings_that_cannot_work_are_named(settings, changes, problem):
    env: Environment = settings.ENV
    assert find_contradictions(env) == []

    [found] = find_contradictions(env.model_copy(update=changes))
    assert found.startswith(problem)
