"""Requests made from the published schema, right and wrong: no 5xx, answers as documented, a refusal stores nothing."""

from __future__ import annotations

import functools
from typing import Any

import pytest
import schemathesis
import time_machine
from django.core.signals import request_finished, request_started
from django.core.wsgi import get_wsgi_application
from django.db import close_old_connections
from drf_spectacular.generators import SchemaGenerator
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import response_schema_conformance, status_code_conformance

from metering.models import UsageFeed, UsageRecord
from tests.factories import AccountFactory, make_service_key
from tests.metering.factories import NOW

pytestmark = pytest.mark.django_db
OPERATIONS = [("/usage", "POST"), ("/usage/{account_id}/{period}", "GET")]
CHECKS: list[Any] = [not_a_server_error, status_code_conformance, response_schema_conformance]


@functools.cache
def load_schema() -> Any:
    """Made once: it takes longer than the requests."""
    schema = schemathesis.openapi.from_dict(SchemaGenerator().get_schema(request=None, public=True))
    schema.app = get_wsgi_application()
    return schema


@pytest.fixture(autouse=True)
def kept_connection():
    """The application runs inside the test's transaction, as under Django's own test client."""
    for signal in (request_started, request_finished):
        signal.disconnect(close_old_connections)
    yield
    for signal in (request_started, request_finished):
        signal.connect(close_old_connections)


def count_rows() -> tuple[int, int]:
    return UsageFeed.objects.count(), UsageRecord.objects.count()


@pytest.mark.parametrize("mode", list(GenerationMode))
@pytest.mark.parametrize(("path", "method"), OPERATIONS)
def test_what_the_schema_allows_and_forbids_is_answered_as_documented(path, method, mode):
    AccountFactory.create(id=5001)
    headers = {"Authorization": f"Api-Key {make_service_key()}", "Host": "127.0.0.1"}
    statuses: set[int] = set()

    @settings(
        max_examples=30,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(load_schema()[path][method].as_strategy(generation_mode=mode))
    def work(case: Any) -> None:
        before = count_rows()
        with time_machine.travel(NOW, tick=False):
            answer = case.call(headers=headers)
        case.validate_response(answer, checks=CHECKS)
        statuses.add(answer.status_code)
        if answer.status_code >= 400:
            assert count_rows() == before

    work()
    assert statuses
