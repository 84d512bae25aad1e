"""Whatever comes to the internal addresses is answered, never with a 5xx, and changes nothing that it should not."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import pytest
import time_machine
from django.test import Client
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pydantic import SecretStr

from metering.models import MeterEvent, RollUpRun
from metering.parity.signatures import sign_target
from tests.factories import make_service_key
from tests.metering.factories import NOW

pytestmark = pytest.mark.django_db
SECRET = "invented-secret-of-two-sides-0001"
ANY = hypothesis_settings(
    max_examples=30,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
MOMENTS = st.one_of(
    st.text(max_size=30),
    st.datetimes().map(lambda moment: f"{moment.isoformat()}Z"),
    st.dates().map(str),
    st.sampled_from(["", "nan", "9" * 400, "2026-10-05T00:00:00+99:99", "٢٠٢٦-١٠-٠٥", "2026-10-05\x00"]),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["period", "x"]) | st.text(max_size=3), inner)
    ),
    max_leaves=6,
)


@pytest.fixture(autouse=True)
def shared_secret(settings: Any) -> None:
    settings.ENV = settings.ENV.model_copy(update={"PARITY_SECRET": [SecretStr(SECRET)]})


def ask(target: str, **headers: str) -> Any:
    return Client(headers=headers).get(target)


@ANY
@given(start=MOMENTS, end=MOMENTS)
def test_any_window_is_answered_or_refused(start: str, end: str) -> None:
    target = f"/internal/usage-parity?from={quote(start)}&to={quote(end)}"
    with time_machine.travel(NOW, tick=False):
        answer = ask(target, **sign_target(target=target, secret=SECRET, at=NOW))
    assert answer.status_code in (200, 422), answer.content


@ANY
@given(query=st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="#"), max_size=60))
def test_any_query_is_answered(query: str) -> None:
    target = f"/internal/usage-parity?{query}"
    with time_machine.travel(NOW, tick=False):
        answer = ask(target, **sign_target(target=target, secret=SECRET, at=NOW))
    assert answer.status_code in (200, 401, 422), answer.content
    key = f"Api-Key {make_service_key('internal:read')}"
    assert ask(f"/internal/rollup?{query}", authorization=key).status_code == 200


HEADERS = st.text(st.characters(min_codepoint=32, max_codepoint=255), max_size=80)


@ANY
@given(stamp=HEADERS, signature=HEADERS, key=HEADERS)
def test_nobody_gets_in_by_chance(stamp: str, signature: str, key: str) -> None:
    target = "/internal/usage-parity?from=2026-10-05&to=2026-10-06"
    signed = {"X-Timestamp": stamp, "X-Signature": signature}
    assert ask(target, **signed).status_code == 401
    for authorization in (key, f"Api-Key {key}"):
        assert ask("/internal/rollup", authorization=authorization).status_code in (401, 403)
        answer = Client(headers={"authorization": authorization}).post("/internal/rollup/run")
        assert answer.status_code in (401, 403)
    assert not RollUpRun.objects.exists()


@ANY
@given(body=JSON)
def test_any_body_runs_the_roll_up_or_is_refused(body: Any) -> None:
    before = RollUpRun.objects.count()
    client = Client(headers={"authorization": f"Api-Key {make_service_key('internal:run')}"})
    answer = client.post("/internal/rollup/run", json.dumps(body), content_type="application/json")
    assert answer.status_code in (200, 400, 422), answer.content
    assert RollUpRun.objects.count() - before == (answer.status_code == 200)
    assert not MeterEvent.objects.exists()


@pytest.mark.parametrize(
    "body",
    [
        "[" * 100_000,
        '{"period":' * 50_000,
        '{"period": "' + "9" * 3_000_000 + '"}',
        "\x00",
        '{"period": 1e400}',
    ],
)
def test_deep_and_large_bodies_are_refused(body: str) -> None:
    client = Client(headers={"authorization": f"Api-Key {make_service_key('internal:run')}"})
    answer = client.post("/internal/rollup/run", body, content_type="application/json")
    assert answer.status_code in (400, 413, 422), answer.content[:200]
    assert not RollUpRun.objects.exists()
