from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
import time_machine
from django.test import Client
from pydantic import SecretStr

from billing_worker.contradictions import find_contradictions
from metering.models import SampleBatch, SampleFeed, SampleSpill, UsageSample
from metering.signatures import sign_message
from tests.factories import AccountFactory
from tests.metering.factories import NOW, make_sample, make_sampled_meter, put_on_tier

pytestmark = pytest.mark.django_db
SECRET = "invented-secret-of-samples-00001"
OLD_SECRET = "invented-secret-of-samples-00000"


@pytest.fixture(autouse=True)
def world(settings):
    settings.ENV = settings.ENV.model_copy(
        update={"SAMPLES_SECRET": [SecretStr(SECRET), SecretStr(OLD_SECRET)]}
    )
    AccountFactory.create(id=5001)
    make_sampled_meter()
    put_on_tier(5001, "pro")
    with time_machine.travel(NOW, tick=False):
        yield


def post(body: Any, *, secret: str = SECRET, age: int = 0, signed: bytes | None = None):
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = sign_message(
        message=content if signed is None else signed, secret=secret, at=NOW - timedelta(seconds=age)
    )
    client = Client(raise_request_exception=True)
    return client.post("/usage/samples", content, content_type="application/json", headers=headers)


def count_rows() -> tuple[int, int, int, int]:
    return tuple(model.objects.count() for model in (SampleBatch, SampleFeed, UsageSample, SampleSpill))  # type: ignore[return-value]


def test_a_sample_is_accepted_once():
    answer = post(make_sample())
    assert (answer.status_code, answer.json()) == (
        202,
        {"accepted": 1, "duplicate": 0, "rejected": 0, "reasons": []},
    )
    again = post({"samples": [make_sample(), make_sample("e2")]})
    assert (again.status_code, again.json()) == (
        202,
        {"accepted": 1, "duplicate": 1, "rejected": 0, "reasons": []},
    )
    assert count_rows() == (2, 1, 2, 0)
    sample = UsageSample.objects.get(event_id="e1")
    # The minute before 14:30 on the 5th: the 111th hour of the month, 1,024 MB x 60,000 ms.
    assert (sample.feed.tier.event_name, sample.hour, sample.units) == ("gb_seconds_pro", 110, 61_440_000)


def test_one_bad_sample_never_loses_the_others():
    post(make_sample("held"))
    batch = [
        make_sample("good"),
        make_sample("held", interval_s=61),
        make_sample("unknown", account_id=77),
        make_sample("other", meter="watt_seconds"),
        make_sample("early", at="2025-12-31T12:00:00Z"),
        "nonsense",
        make_sample("good"),
        make_sample("good", interval_s=1),
        make_sample("ünïcode"),
    ]
    answer = post({"samples": batch})

    assert answer.status_code == 202
    body = answer.json()
    assert (body["accepted"], body["duplicate"], body["rejected"]) == (1, 1, 7)
    assert [(reason["index"], reason["event_id"]) for reason in body["reasons"]] == [
        *((1, "held"), (2, "unknown"), (3, "other"), (4, "early"), (5, None), (7, "good"), (8, None)),
    ]
    assert [list(reason["error"]["fields"]) for reason in body["reasons"]] == [
        *(["event_id"], ["account_id"], ["meter"], ["account_id"], ["sample"], ["event_id"], ["event_id"]),
    ]
    assert body["reasons"][0]["error"]["code"] == "conflict"
    assert (body["reasons"][0]["held"]["interval_s"], body["reasons"][0]["given"]["interval_s"]) == (
        "60",
        "61",
    )
    assert body["reasons"][3]["error"]["fields"] == {"account_id": ["has no plan for gb_seconds in 2025-12"]}
    assert set(UsageSample.objects.values_list("event_id", flat=True)) == {"held", "good"}


def test_the_plan_is_ours_whatever_the_sender_says():
    assert post(make_sample(plan="standard", tier="standard", billing_mode="unified")).status_code == 202
    assert UsageSample.objects.get().feed.tier.name == "pro"


def test_only_refusals_are_a_4xx():
    post(make_sample())
    conflict = post(make_sample(interval_s=61))
    assert (conflict.status_code, conflict.json()["reasons"][0]["error"]["code"]) == (409, "conflict")
    assert post(make_sample("e2", account_id=77)).status_code == 422


@pytest.mark.parametrize(
    "change",
    [
        {"event_id": ""}, {"event_id": "x" * 65}, {"event_id": "a b"}, {"event_id": 5}, {"event_id": None},
        {"account_id": "5001"}, {"account_id": True}, {"account_id": -1}, {"account_id": 2**70},
        {"meter": "GB"}, {"meter": None}, {"meter": "x" * 21},
        {"at": "2026-10-05"}, {"at": "2026-10-05T14:00:00"}, {"at": "2026-10-05T23:59:60Z"}, {"at": 1793707200},
        {"at": "٢٠٢٦-١٠-٠٥T14:00:00Z"}, {"at": "2026-13-05T14:00:00Z"}, {"at": "2026-11-03T12:05:01Z"},
        {"at": "1999-12-31T23:00:00Z"}, {"at": "2000-01-01T00:00:30Z"}, {"at": "0001-01-01T00:00:00+23:59"},
        {"at": "9999-12-31T23:59:59-23:59"}, {"at": "2026-10-05T14:00:00+99:99"},
        {"interval_s": 0}, {"interval_s": -1}, {"interval_s": "60"}, {"interval_s": True}, {"interval_s": 86_401},
        {"interval_s": None}, {"interval_s": 0.0005}, {"interval_s": 10**400},
        {"dimensions": None}, {"dimensions": {}}, {"dimensions": {"disk_gb": 1}}, {"dimensions": []},
        {"dimensions": {"memory_mb": -1}}, {"dimensions": {"memory_mb": 1.5}}, {"dimensions": {"memory_mb": 2**40}},
        {"dimensions": {"cpu_count": -0.5}}, {"dimensions": {"cpu_count": 0.0001}}, {"dimensions": {"cpu_count": "1"}},
        {"dimensions": {"memory_mb": {"a": [{}]}}},
    ],
)  # fmt: skip
def test_a_bad_sample_is_a_422_and_leaves_nothing(change):
    answer = post(make_sample() | change)

    assert answer.status_code == 422
    assert answer.json()["reasons"][0]["error"]["fields"]
    assert count_rows() == (0, 0, 0, 0)


@pytest.mark.parametrize(
    "number", ["1e400", "1e999999999", "1e-999999999", "60.0001", "6" * 60 + ".5", "-0.0"]
)
def test_numbers_that_no_interval_has_are_a_422(number):
    body = json.dumps(make_sample()).replace('"interval_s": 60', f'"interval_s": {number}').encode()
    assert post(body).status_code == 422
    assert count_rows() == (0, 0, 0, 0)


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"nope", b"\xff\xfe", b'{"interval_s": NaN}', b"[" * 100_000, b'{"a": Infinity}',
        b'{"interval_s": ' + b"9" * 5_000 + b"}", b'{"interval_s": 1e99999999999999999999999}', b'{"a": 1, "a": 2}',
        b'{"event_id": "\\ud800"}',
    ],
)  # fmt: skip
def test_what_is_not_json_is_a_400(body):
    assert post(body).status_code == 400
    assert count_rows() == (0, 0, 0, 0)


@pytest.mark.parametrize(
    "body",
    [
        None, 5, "text", [], {}, {"samples": []}, {"samples": None}, {"samples": [make_sample()] * 1001},
        {"samples": [make_sample()], "dry_run": True},
    ],
)  # fmt: skip
def test_other_shapes_are_a_422(body):
    assert post(body).status_code == 422
    assert count_rows() == (0, 0, 0, 0)


def test_a_body_of_ten_megabytes_is_a_413():
    assert post(b'{"samples": [' + b" " * 10_000_000 + b"]}").status_code == 413


@pytest.mark.parametrize(
    ("options", "status"),
    [
        ({}, 202), ({"secret": OLD_SECRET}, 202), ({"age": 300}, 202), ({"age": -300}, 202), ({"age": 301}, 401),
        ({"age": -301}, 401), ({"secret": "another"}, 401), ({"signed": b"{}"}, 401),
    ],
)  # fmt: skip
def test_a_live_secret_signs_the_very_body_at_about_our_time(options, status):
    assert post(make_sample(), **options).status_code == status
    assert UsageSample.objects.count() == (status == 202)


def test_the_signature_is_a_known_one():
    """Written out once, so that senders can check their own."""
    assert sign_message(message=b'{"samples": []}', secret=SECRET, at=NOW) == {
        "X-Timestamp": "1793707200",
        "X-Signature": KNOWN,
    }


KNOWN = "e6ab4ea68acc1b45a4b5accbe8099d5e17a694774f5389018d7bac9212e34f86"


def test_without_a_signature_or_a_secret_nothing_is_taken(settings):
    bare = Client().post("/usage/samples", json.dumps(make_sample()), content_type="application/json")
    assert bare.status_code == 401
    settings.ENV = settings.ENV.model_copy(update={"SAMPLES_SECRET": []})
    answer = post(make_sample())
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "samples_not_configured")
    assert count_rows() == (0, 0, 0, 0)


def test_a_short_secret_is_named(settings):
    env = settings.ENV.model_copy(update={"SAMPLES_SECRET": [SecretStr("short")]})
    assert find_contradictions(env) == ["SAMPLES_SECRET: every secret needs 32 or more random characters"]
