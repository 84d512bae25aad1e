"""Senders declare months complete over HTTP."""

from __future__ import annotations

import json
from typing import Any

import pytest
import time_machine
from django.test import Client

from billing_worker.accounts.models import AuditEntry
from billing_worker.core.errors import InvalidInput
from billing_worker.core.periods import Period
from metering.draft_window.completions import declare_complete
from metering.draft_window.models import UsageCompletion
from metering.models import UsageFeed
from tests.factories import (
    make_service_key,
)
from tests.metering.drafts import NOW, make_account

pytestmark = pytest.mark.django_db


@pytest.fixture
def account():
    return make_account()


def post(body: Any, *scopes: str) -> Any:
    client = Client(headers={"authorization": f"Api-Key {make_service_key(*scopes)}"})
    return client.post("/usage/completions", json.dumps(body), content_type="application/json")


def test_a_completion_is_declared_once_and_shown(account):
    with time_machine.travel(NOW, tick=False):
        first = post({"period": "2026-10", "account_ids": [5001]})
        again = post({"period": "2026-10", "account_ids": [5001, 5001]})
    assert (first.status_code, first.json()) == (200, {"period": "2026-10", "declared": 1, "already": 0})
    assert again.json() == {"period": "2026-10", "declared": 0, "already": 1}
    assert UsageCompletion.objects.get().declared_by == "key:test"
    assert AuditEntry.objects.filter(action="metering.usage_declared_complete").count() == 1
    client = Client(headers={"authorization": f"Api-Key {make_service_key()}"})
    shown = client.get("/usage/5001/2026-10").json()["complete"]
    assert (shown["scope"], shown["declared_by"]) == ("5001", "key:test")
    assert not UsageFeed.objects.exists()


@pytest.mark.parametrize(
    "body",
    [
        [], {}, {"period": "2026-10"}, {"period": "2026-13", "account_ids": "all"},
        {"period": 202610, "account_ids": "all"}, {"period": "2026-10", "account_ids": []},
        {"period": "2026-10", "account_ids": ["5001"]}, {"period": "2026-10", "account_ids": [True]},
        {"period": "2026-10", "account_ids": [5001, 9999]}, {"period": "2026-10", "account_ids": "ALL"},
        {"period": "2026-11", "account_ids": "all"}, {"period": "2026-10", "account_ids": "all", "x": 1},
        {"period": "2026-10", "account_ids": [2**70]},
    ],
)  # fmt: skip
def test_a_malformed_completion_changes_nothing(account, body):
    with time_machine.travel(NOW, tick=False):
        assert post(body).status_code == 422
    assert not UsageCompletion.objects.exists()


def test_declaring_needs_the_scope(account):
    assert post({"period": "2026-10", "account_ids": "all"}, "usage:read").status_code == 403


def test_a_month_that_is_not_over_cannot_be_complete():
    with pytest.raises(InvalidInput, match="2026-11 is not over"):
        declare_complete(period=Period(2026, 11), account_ids=None, actor="test", now=NOW)
