"""The console's pages over inbox, mirror and alerts."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from django.urls import reverse

from billing_worker.alerts.models import Alert
from billing_worker.alerts.services import raise_alert
from billing_worker.mirror.models import RawCopy, StripeCreditNote, StripeInvoice, StripeSubscription
from billing_worker.webhooks.models import InboxEvent
from billing_worker.webhooks.states import InboxState
from tests.mirror.samples import (
    make_credit_note,
    make_customer,
    make_event,
    make_invoice,
    make_job_line,
    make_subscription,
)

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 11, 1, 2, tzinfo=UTC)
MODELS = [InboxEvent, StripeInvoice, StripeSubscription, StripeCreditNote, RawCopy, Alert]


@pytest.fixture
def _filled(deliver, work) -> None:
    deliver(make_event("customer.created", make_customer()))
    deliver(make_event("customer.subscription.created", make_subscription()))
    deliver(make_event("invoice.finalized", make_invoice(lines=[make_job_line()])))
    deliver(make_event("credit_note.created", make_credit_note()))
    assert work() == {"processed": 4}
    raise_alert(name="drift_found", severity="warning", subject="a", detail="b", now=NOW)


@pytest.mark.usefixtures("_filled")
@pytest.mark.parametrize("model", MODELS)
def test_lists_and_pages_are_shown(admin_client, model) -> None:
    name = f"admin:{model._meta.app_label}_{model._meta.model_name}"
    listing = admin_client.get(reverse(f"{name}_changelist"), {"q": "a"})
    assert listing.status_code == 200
    key = model._default_manager.values_list("pk", flat=True)[0]
    page = admin_client.get(reverse(f"{name}_change", args=[key]))
    assert page.status_code == 200
    assert admin_client.get(reverse(f"{name}_add")).status_code == 403


@pytest.mark.usefixtures("_filled")
def test_money_reads_as_money(admin_client) -> None:
    page = admin_client.get(reverse("admin:mirror_stripeinvoice_changelist")).content.decode()
    assert "1,234.56 USD" in page


@pytest.mark.usefixtures("_filled")
def test_the_list_does_not_load_payloads(admin_client, django_assert_max_num_queries) -> None:
    with django_assert_max_num_queries(20) as captured:
        admin_client.get(reverse("admin:webhooks_inboxevent_changelist"))
    assert not any('"payload"' in query["sql"] or "`payload`" in query["sql"] for query in captured)


@pytest.mark.usefixtures("_filled")
def test_events_are_replayed_and_alerts_resolved_by_hand(admin_client, admin_user) -> None:
    keys = list(InboxEvent.objects.values_list("pk", flat=True))
    admin_client.post(
        reverse("admin:webhooks_inboxevent_changelist"), {"action": "replay", "_selected_action": keys}
    )
    assert set(InboxEvent.objects.values_list("state", flat=True)) == {InboxState.RECEIVED}
    alert = Alert.objects.get()
    admin_client.post(
        reverse("admin:alerts_alert_changelist"), {"action": "resolve", "_selected_action": [alert.pk]}
    )
    alert.refresh_from_db()
    assert (alert.status, alert.resolved_by) == ("resolved", admin_user.username)
