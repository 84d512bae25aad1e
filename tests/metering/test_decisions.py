from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.urls import reverse

from billing_worker.accounts.models import AuditEntry
from billing_worker.alerts.models import Alert
from billing_worker.webhooks.registry import StripeEvent, get_receivers
from metering.models import MeterEvent
from metering.services.decisions import (
    ReasonMissing,
    give_up_events,
    mark_not_sent,
    mark_sent,
    reject_reported,
    retry_events,
)
from metering.services.sending import SenderOptions, send_batch
from metering.states import TRANSITIONS, EventState
from tests.factories import BillingLeaseFactory, ClockFactory, CustomerAccountFactory
from tests.metering.factories import LIVE, NOW, Clock, FakeStripe, MeterEventFactory

pytestmark = pytest.mark.django_db
WHY = "seen in the dashboard"
DECISIONS = {
    retry_events: ({"rejected"}, "pending"),
    mark_sent: ({"unresolved", "rejected"}, "sent"),
    mark_not_sent: ({"unresolved", "sent"}, "pending"),
    give_up_events: ({"shadow", "pending", "unresolved", "rejected", "expired"}, "skipped"),
}


def make_in(state: str) -> MeterEvent:
    also: dict[str, dict[str, Any]] = {
        "sent": {"sent_at": NOW},
        "sending": {"claim_token": "t", "claimed_at": NOW},
    }
    return MeterEventFactory.create(state=state, reason="before", uncertain_at=NOW, **also.get(state, {}))


@pytest.mark.parametrize("decide", DECISIONS)
@pytest.mark.parametrize("state", EventState.values)
def test_a_decision_moves_only_what_is_in_a_state_for_it(decide, state):
    allowed, target = DECISIONS[decide]
    event = make_in(state)

    moved = decide(ids=[event.pk], actor="finance", reason=WHY, now=NOW)

    event.refresh_from_db()
    if state not in allowed:
        assert (moved, event.state, AuditEntry.objects.count()) == (0, state, 0)
        return
    assert (moved, event.state, event.reason) == (1, target, WHY)
    assert EventState(target) in TRANSITIONS[EventState(state)]
    entry = AuditEntry.objects.get()
    assert (entry.actor, entry.subject_id, entry.reason) == ("finance", event.identifier, WHY)
    assert entry.before == {"state": state, "value": 100}


@pytest.mark.parametrize("reason", ["", "   "])
def test_a_decision_needs_a_reason(reason):
    event = make_in("rejected")

    with pytest.raises(ReasonMissing):
        retry_events(ids=[event.pk], actor="finance", reason=reason, now=NOW)
    assert MeterEvent.objects.get().state == "rejected"


def test_what_stripe_dropped_is_repeated_only_once_its_identifier_is_forgotten():
    """Within the identifier's day the stream would drop it again, without a word."""
    event = make_in("sent")
    mark_not_sent(ids=[event.pk], actor="finance", reason=WHY, now=NOW)
    event.refresh_from_db()
    assert (event.sent_at, event.next_attempt_at) == (None, NOW + timedelta(hours=26))


def test_what_a_person_found_missing_is_sent_again():
    account = CustomerAccountFactory.create()
    BillingLeaseFactory.create(account=account)
    event = MeterEventFactory.create(account=account, state="unresolved", uncertain_at=NOW, attempts=1)
    mark_not_sent(ids=[event.pk], actor="finance", reason=WHY, now=NOW)
    stripe = FakeStripe()

    assert send_batch(port=stripe, seam=LIVE, options=SenderOptions(), clock=Clock()).reported == 1
    assert stripe.total == 100


def test_what_stripe_refused_later_goes_back_to_people():
    sent, other = make_in("sent"), MeterEventFactory.create(state="pending")
    report = {
        "type": "v1.billing.meter.error_report_triggered",
        "related_object": {"id": "mtr_1", "type": "billing.meter"},
        "data": {
            "developer_message_summary": "There is 1 invalid event",
            "reason": {
                "error_count": 1,
                "error_types": [
                    {
                        "code": "meter_event_customer_not_found",
                        "sample_errors": [
                            {"error_message": "no customer", "request": {"identifier": sent.identifier}},
                            {"error_message": "no customer", "request": {"identifier": other.identifier}},
                            {"error_message": "no customer", "request": {"identifier": "not ours"}},
                        ],
                    }
                ],
            },
        },
    }

    _receive("v1.billing.meter.error_report_triggered", report)

    sent.refresh_from_db()
    other.refresh_from_db()
    assert (sent.state, other.state) == ("rejected", "pending")
    assert sent.reason == "refused later by Stripe: There is 1 invalid event"
    alert = Alert.objects.get()
    assert (alert.name, alert.subject) == ("meter_event_rejected", "mtr_1")


@pytest.mark.parametrize(
    "report",
    [
        {}, {"data": None}, {"data": []}, {"data": {"reason": {"error_types": [None, {"sample_errors": "x"}]}}},
        {"data": {"reason": {"error_types": [{"sample_errors": [None, {"request": {"identifier": 5}}]}]}}},
    ],
)  # fmt: skip
def test_a_report_without_samples_is_an_alert_all_the_same(report):
    _receive("v1.billing.meter.no_meter_found", report)

    assert Alert.objects.get().name == "meter_event_rejected"


def _receive(type_, payload):
    event = StripeEvent(
        id="evt_1", type=type_, created_at=NOW, object=payload, previous_attributes={}, customer=None, now=NOW
    )
    [receiver] = get_receivers(type_)
    receiver(event)


def test_a_report_is_taken_once_and_for_sent_events_only():
    event = make_in("sent")

    assert (
        reject_reported(identifiers=[event.identifier], summary="x", subject="mtr_1", told_at=NOW, now=NOW)
        == 1
    )
    assert (
        reject_reported(identifiers=[event.identifier], summary="x", subject="mtr_1", told_at=NOW, now=NOW)
        == 0
    )


@pytest.mark.parametrize(("minutes", "state"), [(9, "rejected"), (11, "sent")])
def test_a_report_that_comes_again_says_nothing_of_an_attempt_made_after_it(minutes, state):
    """A report is replayed after a person had its events sent again: Stripe counts them now."""
    event = make_in("sent")
    MeterEvent.objects.update(claimed_at=NOW + timedelta(minutes=minutes), sent_at=NOW + timedelta(hours=1))
    sample = {"request": {"identifier": event.identifier}}
    report = {"data": {"reason": {"error_types": [{"sample_errors": [sample]}]}}}

    _receive("v1.billing.meter.error_report_triggered", report)

    event.refresh_from_db()
    assert event.state == state


def test_a_report_is_heard_where_the_customer_lives_in_another_time():
    event = make_in("sent")
    event.account.test_clock = ClockFactory.create()
    event.account.save()
    MeterEvent.objects.update(claimed_at=NOW + timedelta(days=30))

    assert (
        reject_reported(identifiers=[event.identifier], summary="x", subject="m", told_at=NOW, now=NOW) == 1
    )


@pytest.fixture
def person(client):
    user = User.objects.create_user("finance", password="x", is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="view_meterevent"))
    client.force_login(user)
    return user


def run_action(client, action, event, reason=WHY):
    return client.post(
        reverse("admin:metering_meterevent_changelist"),
        {"action": action, "_selected_action": [event.pk], "reason": reason},
        follow=True,
    )


def test_a_person_with_the_permission_decides_in_the_console(client, person):
    person.user_permissions.add(Permission.objects.get(codename="decide_meterevent"))
    event = make_in("rejected")

    assert "say why" in run_action(client, "retry", event, reason="").content.decode()
    answer = run_action(client, "retry", event)

    assert "1 meter events will be sent again" in answer.content.decode()
    assert MeterEvent.objects.get().state == "pending"
    assert AuditEntry.objects.get().actor == "finance"
    assert 'name="reason"' in client.get(reverse("admin:metering_meterevent_changelist")).content.decode()


def test_a_person_without_it_only_looks(client, person):
    event = make_in("rejected")

    page = client.get(reverse("admin:metering_meterevent_changelist"))
    assert page.status_code == 200
    assert event.identifier in page.content.decode()
    run_action(client, "retry", event)

    assert MeterEvent.objects.get().state == "rejected"
    assert client.get(reverse("admin:metering_usagefeed_changelist")).status_code == 403
