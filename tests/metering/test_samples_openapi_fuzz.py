"""`POST /usage/samples` from the published schema, right and wrong and signed: no 5xx, a refusal stores nothing."""

from __future__ import annotations

import json
from typing import Any

import pytest
import time_machine
from django.test import Client
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from pydantic import SecretStr
from schemathesis.checks import not_a_server_error
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import response_schema_conformance, status_code_conformance

from metering.models import SampleBatch, SampleFeed, SampleSpill, UsageSample
from metering.signatures import sign_message
from tests.factories import AccountFactory
from tests.metering.factories import NOW, make_sample, make_sampled_meter, put_on_tier
from tests.metering.test_openapi_fuzz import kept_connection, load_schema

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("kept_connection")]
SECRET = "invented-secret-of-samples-00001"
CHECKS: list[Any] = [not_a_server_error, status_code_conformance, response_schema_conformance]
QUICK = settings(
    max_examples=15,
    deadline=None,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
assert kept_connection


@pytest.fixture(autouse=True)
def world(settings):
    settings.ENV = settings.ENV.model_copy(update={"SAMPLES_SECRET": [SecretStr(SECRET)]})
    AccountFactory.create(id=5001)
    make_sampled_meter()
    put_on_tier(5001, "pro")
    with time_machine.travel(NOW, tick=False):
        yield


def count_rows() -> tuple[int, ...]:
    return tuple(model.objects.count() for model in (SampleBatch, SampleFeed, UsageSample, SampleSpill))


def sign(body: bytes) -> dict[str, str]:
    return sign_message(message=body, secret=SECRET, at=NOW)


@pytest.mark.parametrize("mode", list(GenerationMode))
def test_what_the_schema_allows_and_forbids_is_answered_as_documented(mode):
    statuses: set[int] = set()

    @QUICK
    @given(load_schema()["/usage/samples"]["POST"].as_strategy(generation_mode=mode))
    def work(case: Any) -> None:
        # Half of what is generated to be wrong can't be written as JSON, and is sent as text.
        body = case.body if isinstance(case.body, bytes) else json.dumps(case.body, default=str).encode()
        case.body, case.media_type = body, "application/json"
        before = count_rows()
        answer = case.call(headers={"Host": "127.0.0.1", **sign(body)})
        case.validate_response(answer, checks=CHECKS)
        statuses.add(answer.status_code)
        if answer.status_code >= 400:
            assert count_rows() == before

    work()
    # Some wrong requests are wrong in their headers.
    assert 422 in statuses
    assert statuses <= {202, 400, 401, 409, 422}


def post(body: bytes) -> Any:
    """Post the body, signed as it is; a refusal stores nothing."""
    before = count_rows()
    answer = Client(raise_request_exception=True).post(
        "/usage/samples", body, content_type="application/json", headers=sign(body)
    )
    if answer.status_code >= 400:
        assert count_rows() == before
    return answer


#: What breaks parsers, in any field of an otherwise good sample.
WRONG = st.one_of(
    *(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20)),
    st.sampled_from((10**400, -(2**63), 2**63, "１２", "e" * 65, "é", "\u0000", "\ud800", [[]], {})),
    st.recursive(st.none(), lambda inner: st.lists(inner, max_size=2), max_leaves=5),
)
FIELDS = ("event_id", "account_id", "meter", "at", "interval_s", "dimensions", "memory_mb", "cpu_count")


@QUICK
@given(st.sampled_from(FIELDS), WRONG, st.integers(0, 10**9))
def test_one_wrong_field_never_breaks_a_batch_or_its_neighbour(field, value, number):
    bad = make_sample(f"bad-{number}")
    (bad["dimensions"] if field in ("memory_mb", "cpu_count") else bad)[field] = value
    answer = post(json.dumps({"samples": [make_sample(f"good-{number}"), bad]}).encode())

    if answer.status_code == 202:
        told = answer.json()
        assert told["accepted"] + told["duplicate"] + told["rejected"] == 2
        assert UsageSample.objects.filter(event_id=f"good-{number}").count() == 1
    else:
        # NaN and Infinity are not JSON at all, and half a character is no text.
        assert answer.status_code == 400
        assert isinstance(value, float) or "\\ud8" in json.dumps(value)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e400", "-1", "9" * 5000, "0.00000001", "1e-400"])
def test_numbers_that_are_none_are_refused(number):
    for field in ("interval_s", "memory_mb", "cpu_count", "account_id"):
        sample = make_sample(dimensions={"memory_mb": 1, "cpu_count": 1})
        (sample["dimensions"] if field in sample["dimensions"] else sample)[field] = 777
        body = json.dumps(sample).replace("777", number)
        assert post(body.encode()).status_code in (400, 422)


def test_deep_json_is_a_400():
    assert post(b"[" * 100_000).status_code == 400
    assert post(b'{"samples":' * 50_000).status_code == 400
