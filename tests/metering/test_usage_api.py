from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
import time_machine
from django.test import Client

from billing_worker.mirror.models import StripeInvoice, StripeInvoiceLine
from metering.models import UsageFeed, UsageRecord
from metering.services.seam import Seam
from metering.services.sending import SenderOptions, send_batch
from tests.factories import AccountFactory, BillingLeaseFactory, CustomerAccountFactory, make_service_key
from tests.metering.factories import NOW, Clock, FakeStripe
from tests.metering.test_roll_up import roll_up

pytestmark = pytest.mark.django_db
GOOD: dict[str, Any] = {"account_id": 5001, "period": "2026-10-05", "usage_type": "ST", "quantity": 10}


@pytest.fixture(autouse=True)
def _now():
    with time_machine.travel(NOW, tick=False):
        yield


@pytest.fixture
def account():
    account = CustomerAccountFactory.create(id=5001)
    BillingLeaseFactory.create(account=account)
    return account


@pytest.fixture
def client():
    # An exception in the view fails the test instead of passing for a 500.
    return Client(raise_request_exception=True, headers={"authorization": f"Api-Key {make_service_key()}"})


def post(client: Client, body: Any, **options: Any):
    text = body if isinstance(body, str | bytes) else json.dumps(body)
    return client.post("/usage", text, content_type="application/json", **options)


def test_one_record_is_created_then_unchanged_then_restated(client, account):
    created = post(client, GOOD)
    assert created.status_code == 201
    assert created.json() == {
        "status": "created", "key": "5001:2026-10-05:ST", "quantity": 10, "revision": 0, "delta": 10,
    }  # fmt: skip

    unchanged = post(client, GOOD)
    assert (unchanged.status_code, unchanged.json()["status"]) == (200, "unchanged")

    conflict = post(client, GOOD | {"quantity": 12})
    assert conflict.status_code == 409
    assert conflict.json()["held_quantity"] == 10
    assert conflict.json()["given_quantity"] == 12
    assert conflict.json()["error"]["fields"] == {"reason": ["is needed to restate"]}

    restated = post(client, GOOD | {"quantity": 12, "reason": "late batch"})
    assert restated.status_code == 200
    assert restated.json() == {
        "status": "restated", "key": "5001:2026-10-05:ST", "quantity": 12, "revision": 1, "delta": 2,
        "held_quantity": 10,
    }  # fmt: skip
    assert UsageRecord.objects.get(revision=1).author == "key:test"


def test_a_batch_is_answered_record_by_record(client, account):
    post(client, GOOD)
    answer = post(
        client,
        {
            "records": [
                GOOD,
                GOOD | {"period": "2026-10-06"},
                GOOD | {"quantity": 11},
                GOOD | {"account_id": 77},
                GOOD | {"usage_type": "XX", "quantity": -1},
                "nonsense",
            ]
        },
    )

    assert answer.status_code == 207
    body = answer.json()
    assert [result["status"] for result in body["results"]] == [
        *("unchanged", "created", "conflict", "invalid", "invalid", "invalid"),
    ]
    assert body["counts"] == {"unchanged": 1, "created": 1, "conflict": 1, "invalid": 3}
    assert body["results"][3]["error"]["fields"] == {"account_id": ["is not a known account"]}
    assert set(body["results"][4]["error"]["fields"]) == {"usage_type", "quantity"}


def test_a_batch_without_refusals_is_a_200(client, account):
    answer = post(client, {"records": [GOOD, GOOD | {"usage_type": "RM"}]})

    assert (answer.status_code, answer.json()["counts"]) == (200, {"created": 2})


@pytest.mark.parametrize(
    ("change", "fields"),
    [
        ({"account_id": 77}, {"account_id"}),
        ({"usage_type": "XX"}, {"usage_type"}),
        ({"quantity": -1}, {"quantity"}),
        ({"quantity": 1.5}, {"quantity"}),
        ({"quantity": True}, {"quantity"}),
        ({"period": "2026-13"}, {"period"}),
        ({"period": "2026-13", "quantity": None, "usage_type": 1}, {"period", "quantity", "usage_type"}),
    ],
)
def test_a_bad_record_is_a_422_with_a_reason_for_each_field(client, account, change, fields):
    answer = post(client, GOOD | change)

    assert answer.status_code == 422
    assert set(answer.json()["error"]["fields"]) == fields
    assert not UsageRecord.objects.exists()


@pytest.mark.parametrize(
    "body",
    [
        "{", "nope", b"\xff\xfe", '{"quantity": NaN}', '{"quantity": Infinity}', "[" * 100_000,
        '{"account_id": 5001, "period": "2026-10-05", "usage_type": "ST", "quantity": ' + "9" * 5_000 + "}",
    ],
)  # fmt: skip
def test_what_is_not_json_is_a_400(client, account, body):
    answer = post(client, body)

    assert answer.status_code == 400
    assert answer.json()["error"]["message"].startswith("the body is not valid JSON")


@pytest.mark.parametrize(
    "body",
    [
        "", None, 5, "text", [], [GOOD], {}, {"records": []}, {"records": None}, {"records": {}},
        {"records": [GOOD] * 1001},
        {"records": [GOOD], "dry_run": True},
        {**GOOD, "quantity": {"a": {"b": [1]}}},
    ],
)  # fmt: skip
def test_other_shapes_are_a_422_and_store_nothing(client, account, body):
    answer = post(client, body if body == "" else json.dumps(body))

    assert answer.status_code == 422
    assert answer.json()["error"]["fields"]
    assert not UsageRecord.objects.exists()
    assert not UsageFeed.objects.exists()


@pytest.mark.parametrize("quantity", ["1e400", "1E400", "-0.0", "1e2", "1.0"])
def test_numbers_with_point_or_exponent_are_refused(client, account, quantity):
    text = json.dumps(GOOD).replace('"quantity": 10', f'"quantity": {quantity}')

    assert post(client, text).status_code == 422


def test_a_body_of_ten_megabytes_is_refused_unread(client, account):
    answer = post(client, '{"records": [' + " " * 10_000_000 + "]}")

    assert answer.status_code == 413
    assert answer.json()["error"]["code"] == "body_too_large"


def test_a_form_is_refused(client, account):
    assert client.post("/usage", {"account_id": 5001}).status_code == 415


def test_a_key_is_needed_with_the_right_scope(account):
    assert post(Client(), GOOD).status_code == 401
    assert post(Client(headers={"authorization": "Api-Key nope.nope"}), GOOD).status_code == 401
    reader = Client(headers={"authorization": f"Api-Key {make_service_key('usage:read')}"})
    assert post(reader, GOOD).status_code == 403
    assert reader.get("/usage/5001/2026-10").status_code == 200
    other = Client(headers={"authorization": f"Api-Key {make_service_key('invoices:read')}"})
    assert other.get("/usage/5001/2026-10").status_code == 403
    assert not UsageRecord.objects.exists()


def test_the_month_shows_what_is_held_sent_and_invoiced(client, account):
    post(client, GOOD)
    post(client, GOOD | {"quantity": 12, "reason": "late batch"})
    post(client, GOOD | {"usage_type": "RM", "quantity": 3})
    roll_up()
    send_batch(port=FakeStripe(), seam=Seam(shadow=False), options=SenderOptions(), clock=Clock())
    post(client, GOOD | {"period": "2026-10-07", "quantity": 5})
    _invoice(account)

    answer = client.get("/usage/5001/2026-10")

    assert answer.status_code == 200
    body = answer.json()
    assert (body["account_id"], body["period"], body["fed"]) == (5001, "2026-10", "day")
    assert body["totals"] == {"ST": 17, "RM": 3, "CV": 0}
    assert body["sent"] == {"ST": 12, "RM": 3, "CV": 0}
    assert [(bucket["bucket"], bucket["usage_type"], bucket["quantity"]) for bucket in body["usage"]] == [
        ("2026-10-05", "RM", 3),
        ("2026-10-05", "ST", 12),
        ("2026-10-07", "ST", 5),
    ]
    assert [
        (revision["quantity"], revision["reason"], revision["author"], bool(revision["rolled_up_at"]))
        for revision in body["usage"][1]["revisions"]
    ] == [(10, "", "key:test", True), (12, "late batch", "key:test", True)]
    assert [(event["identifier"], event["state"], event["customer"]) for event in body["meter_events"]] == [
        ("5001:2026-10-05:RM", "sent", "cus_5001"),
        ("5001:2026-10-05:ST:1", "sent", "cus_5001"),
    ]
    assert body["invoiced"] == [
        {
            "invoice": "in_1", "status": "open", "usage_type": "ST", "quantity": 12, "amount_minor": 240,
            "currency": "usd",
        }
    ]  # fmt: skip


def _invoice(account):
    """October's usage and November's flat fee, on one invoice of 1 November."""
    october, november = datetime(2026, 10, 1, tzinfo=UTC), datetime(2026, 11, 1, tzinfo=UTC)
    december = datetime(2026, 12, 1, tzinfo=UTC)
    invoice = StripeInvoice.objects.create(
        stripe_invoice_id="in_1", account=account, customer="cus_5001", status="open", currency="usd",
        subtotal_minor=50140, total_minor=50140, amount_due_minor=50140, amount_paid_minor=0,
        amount_remaining_minor=50140, period_start=october, period_end=november, created_at=november,
        last_event_at=november,
    )  # fmt: skip
    lines = [("il_1", "ST", 240, 12, october, november), ("il_2", "sub", 49900, 1, november, december)]
    for position, (line, kind, amount, quantity, start, end) in enumerate(lines):
        StripeInvoiceLine.objects.create(
            invoice=invoice, stripe_line_id=line, position=position, kind=kind, account=account, amount_minor=amount,
            currency="usd", quantity=quantity, period_start=start, period_end=end,
        )  # fmt: skip


def test_an_empty_month_shows_zeros(client, account):
    body = client.get("/usage/5001/2026-10").json()

    assert body["fed"] is None
    assert body["totals"] == {"ST": 0, "RM": 0, "CV": 0}
    assert body["usage"] == body["meter_events"] == body["invoiced"] == []


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/usage/5999/2026-10", 404), ("/usage/5001/2026-13", 422), ("/usage/5001/x", 422), ("/usage/x/2026-10", 404),
        ("/usage/99999999999999999999/2026-10", 404), ("/usage/5001/2026-10-05", 422),
    ],
)  # fmt: skip
def test_reading_what_does_not_exist_is_a_4xx(client, account, path, status):
    assert client.get(path).status_code == status


def test_a_child_shows_its_parents_invoice(client, account):
    AccountFactory.create(id=5002, parent=account)
    _invoice(account)

    assert [line["quantity"] for line in client.get("/usage/5002/2026-10").json()["invoiced"]] == [12]
