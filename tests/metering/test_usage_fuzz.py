"""Whatever is posted: never a 5xx, and the tables hold exactly what was answered as taken."""

from __future__ import annotations

import json
from typing import Any

import time_machine
from django.test import Client
from drf_spectacular.generators import SchemaGenerator
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.django import TestCase

from metering.models import UsageRecord
from tests.factories import AccountFactory, make_service_key
from tests.metering.factories import NOW

ANYTHING: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=True) | st.text(max_size=20),
    lambda children: (
        st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=5), children, max_size=3)
    ),
    max_leaves=8,
)
#: Values that are right, nearly right, or far off, for each field of the OpenAPI document.
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "account_id": st.sampled_from([5001, 5002, 5999, 0, -1, 2**63, "5001"]),
    "period": st.sampled_from(
        ["2026-10", "2026-10-05", "2026-10-06", "2026-09", "2026-02-30", "2027-01", "٢٠٢٦-١٠"]
    ),
    "usage_type": st.sampled_from(["ST", "RM", "CV", "st", "XX", ""]),
    "quantity": st.sampled_from([0, 1, 2, 10**15 - 1, 10**15, -1, 1.5, 1e300]),
    "reason": st.sampled_from(["restated", "", None, "x" * 501, "\ud800", "\x00"]),
}
RECORDS = st.fixed_dictionaries(
    {}, optional={name: st.one_of(good, good, good, ANYTHING) for name, good in VALUES.items()}
)
BODIES = st.one_of(
    RECORDS,
    RECORDS,
    st.lists(RECORDS | ANYTHING, max_size=6).map(lambda records: {"records": records}),
    st.lists(RECORDS, min_size=1, max_size=6).map(lambda records: {"records": records}),
    ANYTHING,
)
NO_SHRINKING_NEEDED = list(HealthCheck)


def make_world() -> Client:
    """Two accounts and a caller with a key. Made in each example: its transaction takes them back."""
    AccountFactory.create(id=5001)
    AccountFactory.create(id=5002)
    return Client(headers={"authorization": f"Api-Key {make_service_key()}"})


class FuzzTest(TestCase):
    @settings(max_examples=250, deadline=None, suppress_health_check=NO_SHRINKING_NEEDED)
    @given(BODIES)
    def test_any_json_is_answered_and_what_was_taken_is_held(self, body):
        client = make_world()
        with time_machine.travel(NOW, tick=False):
            answer = client.post("/usage", json.dumps(body), content_type="application/json")

        assert answer.status_code < 500
        content = answer.json()
        outcomes = content.get("results", [content])
        taken = [outcome for outcome in outcomes if outcome.get("status") in ("created", "restated")]
        assert UsageRecord.objects.count() == len(taken)
        held = sorted(UsageRecord.objects.values_list("quantity", flat=True))
        assert held == sorted(outcome["quantity"] for outcome in taken)
        if answer.status_code in (400, 422):
            assert content["error"]["message"]

    @settings(max_examples=150, deadline=None, suppress_health_check=NO_SHRINKING_NEEDED)
    @given(
        st.binary(max_size=200)
        | st.text(max_size=100).map(lambda text: text.encode("utf-8", "surrogatepass"))
    )
    def test_any_bytes_are_refused_and_leave_nothing(self, body):
        client = make_world()
        answer = client.post("/usage", body, content_type="application/json")

        assert answer.status_code in (400, 422)
        assert not UsageRecord.objects.exists()

    @settings(max_examples=100, deadline=None, suppress_health_check=NO_SHRINKING_NEEDED)
    @given(
        st.text(alphabet=st.characters(exclude_characters="/?#%\\.", exclude_categories=["Cs"]), min_size=1)
    )
    def test_any_period_in_an_address_is_answered(self, period):
        client = make_world()
        answer = client.get(f"/usage/5001/{period}")

        assert answer.status_code in (200, 404, 422)


def test_the_fuzz_covers_every_field_of_the_published_schema():
    components = SchemaGenerator().get_schema(request=None, public=True)["components"]["schemas"]

    assert set(components["UsageRecordSchema"]["properties"]) == set(VALUES)
    assert set(components["UsageRecordSchema"]["required"]) == {
        "account_id",
        "period",
        "usage_type",
        "quantity",
    }
    assert components["UsageBatchSchema"]["properties"]["records"]["maxItems"] == 1000
