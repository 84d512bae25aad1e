"""The worker: each event has its effects once, whatever fails, dies or comes twice."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
import time_machine
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from billing_worker import gateway
from billing_worker.alerts.models import Alert
from billing_worker.alerts.states import AlertStatus
from billing_worker.catalog.models import CatalogProduct
from billing_worker.mirror import services as mirror
from billing_worker.mirror.models import StripeInvoice
from billing_worker.mirror.raw_copies import copy_object
from billing_worker.webhooks import processing, tasks
from billing_worker.webhooks.models import CustomerLock, InboxEvent
from billing_worker.webhooks.processing import Claim, claim_event, process_event
from billing_worker.webhooks.registry import StripeEvent, receives
from billing_worker.webhooks.states import CLAIM_TIMEOUT, MAX_ATTEMPTS, TRANSITIONS, InboxState
from tests.factories import AccountFactory
from tests.mirror.samples import NOVEMBER, make_customer, make_event, make_invoice, make_paid_invoice

pytestmark = pytest.mark.django_db


@pytest.fixture
def seen(receivers) -> list[StripeEvent]:
    """What a receiver of every invoice event was given."""
    events: list[StripeEvent] = []
    receives("invoice.finalized", "invoice.paid", "invoice.updated")(events.append)
    return events


@pytest.fixture(autouse=True)
def _known_customer(deliver, work) -> None:
    deliver(make_event("customer.created", make_customer()))
    assert work() == {"processed": 1}


def test_an_event_is_mirrored_and_then_given_to_the_receivers(deliver, work, receivers) -> None:
    order = []

    @receives("invoice.finalized")
    def note(event: StripeEvent) -> None:
        invoice = StripeInvoice.objects.get(stripe_invoice_id=event.object["id"])
        order.append((event.type, invoice.status, event.customer, event.created_at))

    deliver(make_event("invoice.finalized", make_invoice()))
    assert work() == {"processed": 1}
    assert order == [("invoice.finalized", "open", "cus_1", datetime.fromtimestamp(NOVEMBER, UTC))]
    row = InboxEvent.objects.get(type="invoice.finalized")
    assert row.state == InboxState.PROCESSED
    assert row.attempts == 1
    assert row.processed_at is not None
    assert row.mirrored_at is not None


def test_a_redelivered_event_is_processed_once(deliver, work, seen) -> None:
    event = make_event("invoice.paid", make_paid_invoice())
    deliver(event)
    work()
    deliver(event)
    assert work() == {}
    assert len(seen) == 1


def test_previous_attributes_reach_the_receiver(deliver, work, seen) -> None:
    deliver(make_event("invoice.updated", make_invoice(), previous_attributes={"status": "draft"}))
    work()
    assert seen[0].previous_attributes == {"status": "draft"}


def test_a_receiver_that_raises_undoes_the_others_and_is_tried_again(deliver, work, receivers) -> None:
    attempts: list[str] = []

    @receives("invoice.finalized")
    def write(event: StripeEvent) -> None:
        CustomerLock.objects.create(customer=f"effect-{len(attempts)}")

    @receives("invoice.finalized")
    def fail_twice(event: StripeEvent) -> None:
        attempts.append(event.id)
        if len(attempts) < 3:
            raise LookupError("not yet")

    with time_machine.travel("2026-11-01T02:00:00Z", tick=False) as clock:
        deliver(make_event("invoice.finalized", make_invoice()))
        assert work() == {"retried": 1}
        row = InboxEvent.objects.get(type="invoice.finalized")
        assert (row.state, row.last_error) == (InboxState.RECEIVED, "LookupError: not yet")
        assert row.next_attempt_at == timezone.now() + timedelta(seconds=5)
        assert not CustomerLock.objects.filter(customer__startswith="effect").exists()
        assert not StripeInvoice.objects.exists(), "the projection is in the same transaction"
        assert work() == {}, "not before its time"
        clock.shift(timedelta(seconds=5))
        assert work() == {"retried": 1}
        clock.shift(timedelta(seconds=30))
        assert work() == {"processed": 1}
    assert list(
        CustomerLock.objects.filter(customer__startswith="effect").values_list("customer", flat=True)
    ) == ["effect-2"]
    row.refresh_from_db()
    assert (row.state, row.last_error, row.attempts) == (InboxState.PROCESSED, "", 3)


def test_after_the_last_attempt_it_is_failed_and_a_person_is_told(deliver, work, receivers) -> None:
    @receives("invoice.finalized")
    def fail(event: StripeEvent) -> None:
        raise LookupError("never")

    with time_machine.travel("2026-11-01T02:00:00Z", tick=False) as clock:
        deliver(make_event("invoice.finalized", make_invoice()))
        outcomes = []
        for _ in range(MAX_ATTEMPTS + 2):
            outcomes += work()
            clock.shift(timedelta(hours=2))
    assert outcomes == ["retried"] * (MAX_ATTEMPTS - 1) + ["failed"]
    row = InboxEvent.objects.get(type="invoice.finalized")
    assert (row.state, row.next_attempt_at) == (InboxState.FAILED, None)
    alert = Alert.objects.get()
    assert (alert.name, alert.subject, alert.severity) == ("webhook_event_failed", row.event_id, "critical")
    assert f"replay_events --id {row.event_id}" in alert.detail


def test_a_replay_that_works_resolves_the_alert(deliver, work, receivers) -> None:
    broken = [True]

    @receives("invoice.finalized")
    def fail(event: StripeEvent) -> None:
        if broken:
            raise LookupError("broken")

    with time_machine.travel("2026-11-01T02:00:00Z", tick=False) as clock:
        deliver(make_event("invoice.finalized", make_invoice()))
        for _ in range(MAX_ATTEMPTS):
            work()
            clock.shift(timedelta(hours=2))
        broken.clear()
        from billing_worker.webhooks.services import replay_events

        assert replay_events(events=InboxEvent.objects.filter(state="failed"), now=timezone.now()) == 1
        assert work() == {"processed": 1}
    assert Alert.objects.get().status == AlertStatus.RESOLVED


def claim(pk: int, *, now: datetime) -> Claim | None:
    return claim_event(InboxEvent.objects.get(pk=pk), now=now)


def test_a_claim_is_exclusive_until_it_is_stale(deliver) -> None:
    deliver(make_event("invoice.finalized", make_invoice()))
    pk = InboxEvent.objects.get(type="invoice.finalized").pk
    now = timezone.now()
    first = claim(pk, now=now)
    assert first is not None
    assert claim(pk, now=now) is None
    assert claim(pk, now=now + CLAIM_TIMEOUT) is None
    second = claim(pk, now=now + CLAIM_TIMEOUT + timedelta(seconds=1))
    assert second is not None
    assert second.token != first.token
    assert second.row.attempts == 2


def test_a_killed_workers_event_is_taken_over_by_the_sweep(deliver, work, seen) -> None:
    with time_machine.travel("2026-11-01T02:00:00Z", tick=False) as clock:
        deliver(make_event("invoice.finalized", make_invoice()))
        claim_event(InboxEvent.objects.get(type="invoice.finalized"), now=timezone.now())
        assert work() == {}
        clock.shift(CLAIM_TIMEOUT + timedelta(seconds=1))
        assert work() == {"processed": 1}
    assert len(seen) == 1


def test_an_event_that_every_worker_dies_of_is_given_up_with_an_alert(deliver, work, seen) -> None:
    with time_machine.travel("2026-11-01T02:00:00Z", tick=False) as clock:
        deliver(make_event("invoice.finalized", make_invoice()))
        pk = InboxEvent.objects.get(type="invoice.finalized").pk
        for _ in range(MAX_ATTEMPTS):
            assert claim(pk, now=timezone.now()) is not None
            clock.shift(CLAIM_TIMEOUT + timedelta(seconds=1))
        assert work() == {"failed": 1}
    assert seen == []
    assert "the worker died" in Alert.objects.get(name="webhook_event_failed").detail


def test_a_worker_taken_for_dead_has_no_effects(deliver, seen, monkeypatch) -> None:
    """It wakes up after another has claimed its event: its transaction must not stand."""
    deliver(make_event("invoice.finalized", make_invoice()))
    pk = InboxEvent.objects.get(type="invoice.finalized").pk
    now = timezone.now()

    def be_slow(*args, **kwargs):
        if len(stolen) == 0:
            stolen.append(claim(pk, now=now + CLAIM_TIMEOUT * 2))
        return copy_object(*args, **kwargs)

    stolen: list[object] = []
    monkeypatch.setattr(processing, "copy_object", be_slow)
    assert process_event(inbox_id=pk, now=now) == "skipped"
    assert seen == []
    row = InboxEvent.objects.get(pk=pk)
    assert (row.state, row.attempts) == (InboxState.PROCESSING, 2)


def test_a_late_error_does_not_undo_anothers_success(deliver, seen, monkeypatch) -> None:
    deliver(make_event("invoice.finalized", make_invoice()))
    pk = InboxEvent.objects.get(type="invoice.finalized").pk
    now = timezone.now()
    calls: list[str] = []

    def fail_while_another_succeeds(*args, **kwargs):
        calls.append("copy")
        if len(calls) > 1:
            return copy_object(*args, **kwargs)
        assert process_event(inbox_id=pk, now=now + CLAIM_TIMEOUT * 2) == "processed"
        raise OSError("the disk was full for a moment")

    monkeypatch.setattr(processing, "copy_object", fail_while_another_succeeds)
    process_event(inbox_id=pk, now=now)
    row = InboxEvent.objects.get(pk=pk)
    assert (row.state, row.last_error) == (InboxState.PROCESSED, "")
    assert len(seen) == 1


def test_a_payload_that_does_not_parse_is_put_off_not_lost(deliver, work) -> None:
    broken = make_invoice()
    del broken["lines"]["data"][0]["period"]
    deliver(make_event("invoice.finalized", broken))
    assert work() == {"retried": 1}
    assert InboxEvent.objects.get(type="invoice.finalized").last_error.startswith("KeyError")


def test_one_broken_event_does_not_hold_up_the_others(deliver, work, seen) -> None:
    broken = make_invoice(id="in_broken")
    del broken["lines"]["data"][0]["period"]
    deliver(make_event("invoice.finalized", broken, created=NOVEMBER - 5))
    deliver(make_event("invoice.finalized", make_invoice()))
    assert work() == {"retried": 1, "processed": 1}
    assert [event.object["id"] for event in seen] == ["in_1"]


def test_events_are_worked_off_in_stripes_order(deliver, work, seen) -> None:
    deliver(make_event("invoice.paid", make_paid_invoice(), created=NOVEMBER + 60))
    deliver(make_event("invoice.finalized", make_invoice()))
    work()
    assert [event.type for event in seen] == ["invoice.finalized", "invoice.paid"]


def test_a_thin_event_is_its_own_object(deliver, work, receivers) -> None:
    seen: list[StripeEvent] = []
    receives("v1.billing.meter.error_report_triggered")(seen.append)
    thin = {
        "object": "v2.core.event",
        "id": "evt_thin",
        "type": "v1.billing.meter.error_report_triggered",
        "created": "2026-11-01T01:00:00.123Z",
        "related_object": {"id": "mtr_1", "type": "billing.meter"},
        "data": {"reason": {"error_count": 1}},
    }
    deliver(thin)
    assert work() == {"processed": 1}
    assert seen[0].object["data"] == {"reason": {"error_count": 1}}
    assert seen[0].customer is None


def test_an_object_that_keeps_changing_is_put_off(deliver, work, monkeypatch) -> None:
    deliver(make_event("invoice.finalized", make_invoice(lines=[])))
    event = make_event("invoice.updated", make_invoice())
    deliver(event)
    content = gateway.parse_invoice(make_invoice())
    monkeypatch.setattr(
        processing,
        "read_object",
        lambda need: mirror.Reading(content=content, version=(need.version or 0) - 1),
    )
    assert work() == {"processed": 1, "retried": 1}
    assert "kept changing" in InboxEvent.objects.get(event_id=event["id"]).last_error


def test_every_state_has_its_way_out() -> None:
    assert set(TRANSITIONS) == set(InboxState)
    assert all(targets for targets in TRANSITIONS.values())


def test_only_types_that_the_inbox_takes_can_be_received() -> None:
    with pytest.raises(ValueError, match=r"'invoice\.finalised'"):
        receives("invoice.finalised")


def test_an_event_costs_few_queries(deliver, work, seen) -> None:
    AccountFactory.create(stripe_customer_id="cus_1")
    CatalogProduct.objects.create(kind="ST", stripe_product_id="prod_st", name="ST")
    deliver(make_event("invoice.finalized", make_invoice()))
    work()
    deliver(make_event("invoice.paid", make_paid_invoice(), created=NOVEMBER + 60))
    row = InboxEvent.objects.get(type="invoice.paid")
    with CaptureQueriesContext(connection) as queries:
        assert process_event(inbox_id=row.pk, now=timezone.now()) == "processed"
    statements = [query["sql"] for query in queries if "SAVEPOINT" not in query["sql"]]
    # Claim, its row, two for dj-stripe's copy, the lock twice, settle, projection twice, lines.
    assert len(statements) <= 10, "\n".join(text[:90] for text in statements)


def test_workers_begin_at_different_customers_and_keep_each_ones_order() -> None:
    due = [
        InboxEvent(event_id=f"evt_{place}", customer=customer)
        for place, customer in enumerate(["a", "b", "a", "c", "b"])
    ]
    orders = {"".join(row.event_id[-1] for row in tasks._begin_anywhere(due)) for _ in range(200)}
    assert orders == {"02143", "14302", "30214"}


def test_a_row_that_another_worker_has_had_since_it_was_read_is_skipped(deliver) -> None:
    deliver(make_event("invoice.finalized", make_invoice()))
    row, same = (InboxEvent.objects.get(type="invoice.finalized") for _ in range(2))
    now = timezone.now()
    assert processing.process_row(row, now=now) == "processed"
    assert processing.process_row(same, now=now) == "skipped"
