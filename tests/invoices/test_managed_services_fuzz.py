"""Requests for managed services from the published schema, right and wrong: no 5xx, a refusal stores nothing."""

from __future__ import annotations

import json
from typing import Any

import pytest
import time_machine
from django.test import Client
from hypothesis import given
from schemathesis.generation import GenerationMode

from billing_worker.accounts.models import ManagedJob
from tests.factories import BillingLeaseFactory, CustomerAccountFactory, make_service_key
from tests.invoices.factories import NOW
from tests.invoices.test_managed_services_api import GOOD
from tests.metering.test_openapi_fuzz import CHECKS, kept_connection, load_schema
from tests.metering.test_samples_openapi_fuzz import QUICK, WRONG

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("kept_connection")]
assert kept_connection


@pytest.fixture(autouse=True)
def _world():
    BillingLeaseFactory.create(account=CustomerAccountFactory.create(id=5001))
    with time_machine.travel(NOW, tick=False):
        yield


@pytest.fixture
def headers():
    return {"Authorization": f"Api-Key {make_service_key('jobs:write')}", "Host": "127.0.0.1"}


@pytest.mark.parametrize("mode", list(GenerationMode))
def test_what_the_schema_allows_and_forbids_is_answered_as_documented(mode, headers):
    statuses: set[int] = set()

    @QUICK
    @given(load_schema()["/managed-services"]["POST"].as_strategy(generation_mode=mode))
    def work(case: Any) -> None:
        before = ManagedJob.objects.count()
        answer = case.call(headers=headers)
        case.validate_response(answer, checks=CHECKS)
        statuses.add(answer.status_code)
        if answer.status_code >= 400:
            assert ManagedJob.objects.count() == before

    work()
    assert statuses <= {200, 201, 400, 401, 404, 409, 413, 415, 422}


@pytest.mark.parametrize("field", GOOD)
def test_one_wrong_field_is_named_and_nothing_is_kept(field, headers):
    client = Client(raise_request_exception=True, headers={"authorization": headers["Authorization"]})

    @QUICK
    @given(WRONG)
    def work(value: Any) -> None:
        body = json.dumps(GOOD | {field: value})
        answer = client.post("/managed-services", body, content_type="application/json")
        if answer.status_code in (200, 201):
            # Any text is a title, and any amount in bounds is an amount.
            assert field in ("title", "reference") or (field == "amount_minor" and 0 < value < 10**8)
            return
        assert answer.status_code in (400, 404, 409, 422)
        if answer.status_code == 422:
            assert list(answer.json()["error"]["fields"]) == [field]

    work()


def test_deep_json_is_refused(headers):
    client = Client(raise_request_exception=True, headers={"authorization": headers["Authorization"]})
    for body in ("[" * 9_000, '{"a":' * 1_900):
        assert client.post("/managed-services", body, content_type="application/json").status_code == 400
