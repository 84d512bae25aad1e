"""Every page of the console opens for whoever may see it, and for nobody else."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.contrib import admin
from django.contrib.auth.models import User
from django.db.models import Model
from django.test import Client
from django.urls import reverse

from billing_worker.accounts.models import ServiceKey
from billing_worker.alerts.services import raise_alert
from billing_worker.catalog.models import CatalogMeter, CatalogPrice, CatalogProduct
from billing_worker.mirror.models import RawCopy, StripeCreditNote, StripeSubscription
from billing_worker.webhooks.models import InboxEvent
from cohorts.models import Cohort, Rollback
from cohorts.services import open_gate, sign_off
from reconciliation.models import Drift
from tests.cohorts.factories import NOW, Month, make_cohort, make_person
from tests.factories import AccountFactory, ClockFactory, ManagedJobFactory

pytestmark = [
    pytest.mark.django_db(databases=["default", "legacy"]),
    pytest.mark.usefixtures("legacy_tables"),
]
admin.autodiscover()
MODELS = list(admin.site._registry)
#: What only superusers see: people, and other packages' own pages.
FOREIGN = {"auth", "djstripe", "import_export"}
ROLES = ("ops", "finance", "engineer")


@pytest.fixture
def rows(legacy_tables: None) -> None:
    """At least one row of most models, so that change pages have something to show."""
    make_cohort(Month("Tern & Co", 14900, 15000), name="cohort-3")
    clean = make_cohort()
    opened, _ = open_gate(cohort_id=clean.pk, actor="test", now=NOW)
    signer = make_person("signer", "finance")
    sign_off(cohort_id=clean.pk, user=signer, evidence_hash=opened.evidence_hash, now=NOW)
    gone = Cohort.objects.create(name="cohort-9", state="rolled_back", created_at=NOW)
    rollback = Rollback.objects.create(
        cohort=gone, open_cohort=gone, from_period="2026-12", reason="test", requested_by="otto", requested_at=NOW,
        state_before="ready",
    )  # fmt: skip
    rollback.steps.create(payer=AccountFactory.create(), account_ids=[], period="2026-12", error="no answer")
    AccountFactory.create(test_clock=ClockFactory.create())
    ManagedJobFactory.create()
    ServiceKey.objects.create_key(name="admin-api", scopes=["usage:write"])
    raise_alert(name="test", severity="info", subject="a test", detail="for the test", now=NOW)
    CatalogMeter.objects.create(usage_type="ST", event_name="impressions_st", stripe_meter_id="mtr_1")
    CatalogProduct.objects.create(kind="sub", name="Monthly plan", stripe_product_id="billing_sub")
    CatalogPrice.objects.create(
        lookup_key="flat_usd_1", kind="sub", currency="usd", unit_amount_decimal=1, stripe_price_id="price_1"
    )
    RawCopy.objects.create(stripe_object_id="in_1", kind="invoice", last_event_at=NOW)
    StripeSubscription.objects.create(
        stripe_subscription_id="sub_1", customer="cus_1", status="active", created_at=NOW, last_event_at=NOW
    )
    StripeCreditNote.objects.create(
        stripe_credit_note_id="cn_1", stripe_invoice_id="in_1", customer="cus_1", status="issued", currency="usd",
        amount_minor=1, subtotal_minor=1, total_minor=1, created_at=NOW, last_event_at=NOW,
    )  # fmt: skip
    InboxEvent.objects.create(
        event_id="evt_1",
        type="invoice.paid",
        payload="{}",
        event_created_at=NOW,
        received_at=NOW,
        next_attempt_at=NOW,
    )


def iterate_pages(model: type[Model]) -> Iterator[str]:
    """The addresses of a model's list, its form for a new row, and its newest row."""
    base = f"admin:{model._meta.app_label}_{model._meta.model_name}"
    yield reverse(f"{base}_changelist")
    yield reverse(f"{base}_add")
    newest = model._default_manager.order_by("-pk").first()
    if newest is not None:
        yield reverse(f"{base}_change", args=[newest.pk])
        yield reverse(f"{base}_history", args=[newest.pk])


@pytest.mark.usefixtures("rows")
@pytest.mark.parametrize(
    "role", ["superuser", *(pytest.param(role, marks=pytest.mark.sqlite_only) for role in ROLES)]
)
def test_pages_open_or_are_refused_and_never_break(role: str, client: Client):
    if role == "superuser":
        user = User.objects.create_superuser("root", password="a-long-enough-word")
    else:
        user = make_person(role, role)
    client.force_login(user)
    opened, found = 0, {}
    for model in MODELS:
        for address in iterate_pages(model):
            found[address] = client.get(address).status_code
            opened += found[address] == 200
    assert set(found.values()) <= {200, 302, 403}, found
    ours = [model for model in MODELS if model._meta.app_label not in FOREIGN]
    lists = [reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist") for model in ours]
    assert {address: found[address] for address in lists} == dict.fromkeys(lists, 200), (
        "every role sees all of ours"
    )
    assert opened > len(lists)


@pytest.mark.usefixtures("rows")
def test_nobody_sees_anything_without_logging_in(client: Client):
    pages = [address for model in MODELS for address in iterate_pages(model)]
    for address in [reverse("admin:index"), *pages]:
        answer = client.get(address)
        assert (answer.status_code, answer.headers["Location"].partition("?")[0]) == (302, "/admin/login/")


@pytest.mark.usefixtures("rows")
def test_staff_without_a_role_is_told_so(client: Client):
    client.force_login(User.objects.create_user("new", password="a-long-enough-word", is_staff=True))
    page = client.get(reverse("admin:index")).content.decode()
    assert "You have no role yet" in page
    assert "Tern" not in page
    assert "cohort-3" not in page
    cohort = Cohort.objects.earliest("pk")
    assert client.get(reverse("admin:cohorts_cohort_change", args=[cohort.pk])).status_code == 403


@pytest.mark.usefixtures("rows")
class TestOverview:
    def test_it_shows_cohorts_money_and_alerts(self, client: Client):
        client.force_login(make_person("otto", "ops"))
        page = client.get(reverse("admin:index")).content.decode()
        for text in (
            "cohort-1",
            "1 of 2",
            "cohort-3",
            "1 drift",
            "798.00 USD",
            "3 mailed since 2026-10, 0 documents wait for a person",
            "a test",
            "Test mode",
        ):
            assert text in page, text

    def test_its_links_lead_somewhere(self, client: Client):
        client.force_login(make_person("otto", "ops"))
        answer = client.get(reverse("admin:index"))
        for card in answer.context["cards"]:
            assert client.get(card.link).status_code == 200, card.link
        groups = answer.context["sidebar_navigation"]
        links = [item["link"] for group in groups for item in group["items"] if item["has_permission"]]
        assert len(links) > 20
        for link in links:
            assert client.get(str(link)).status_code == 200, link


def test_an_empty_console_opens(client: Client):
    client.force_login(User.objects.create_superuser("root", password="a-long-enough-word"))
    page = client.get(reverse("admin:index")).content.decode()
    assert "No cohort yet" in page
    assert "Nothing is wrong that we know of." in page


class TestActions:
    """Buttons without the right to them are refused, whatever a page shows."""

    @pytest.mark.parametrize("action", ["start_dual_run", "reconcile", "open_gate", "sign_off"])
    def test_they_are_posted_only(self, client: Client, action: str):
        cohort = make_cohort()
        client.force_login(make_person("otto", "ops"))
        assert client.get(reverse(f"admin:cohorts_cohort_{action}", args=[cohort.pk])).status_code == 405

    @pytest.mark.parametrize(
        ("role", "action"),
        [
            ("finance", "start_dual_run"),
            ("finance", "reconcile"),
            ("finance", "open_gate"),
            ("engineer", "sign_off"),
        ],
    )
    def test_they_need_their_permission(self, client: Client, role: str, action: str):
        cohort = make_cohort()
        client.force_login(make_person("somebody", role))
        assert client.post(reverse(f"admin:cohorts_cohort_{action}", args=[cohort.pk])).status_code == 403

    def test_a_forged_form_is_refused(self):
        cohort = make_cohort()
        client = Client(enforce_csrf_checks=True)
        client.force_login(make_person("otto", "ops"))
        assert client.post(reverse("admin:cohorts_cohort_open_gate", args=[cohort.pk])).status_code == 403

    def test_a_refusal_is_told_on_the_page(self, client: Client):
        cohort = make_cohort(Month("Tern & Co", 14900, 15000))
        client.force_login(make_person("otto", "ops"))
        answer = client.post(reverse("admin:cohorts_cohort_open_gate", args=[cohort.pk]), follow=True)
        assert "the gate of cohort cohort-1 is closed" in answer.content.decode()

    def test_reconciling_again_by_button(self, client: Client):
        cohort = make_cohort()
        client.force_login(make_person("otto", "ops"))
        answer = client.post(reverse("admin:cohorts_cohort_reconcile", args=[cohort.pk]), follow=True)
        assert "the figures below are new" in answer.content.decode()

    def test_a_cohort_that_does_not_exist(self, client: Client):
        client.force_login(make_person("otto", "ops"))
        assert client.get(reverse("admin:cohorts_cohort_change", args=[99])).status_code == 404
        assert client.post(reverse("admin:cohorts_cohort_reconcile", args=[99])).status_code == 404

    def test_only_who_may_accepts_drifts_and_an_empty_reason_is_asked_for(self, client: Client):
        make_cohort(Month("Tern & Co", 14900, 15000))
        drift = Drift.objects.get()
        address = reverse("admin:reconciliation_drift_accept", args=[drift.pk])
        client.force_login(make_person("erin", "engineer"))
        assert client.get(address).status_code == 403
        client.force_login(make_person("fay", "finance"))
        assert "This field is required" in client.post(address, {"reason": " "}).content.decode()
        assert client.get(address).status_code == 200
        drift.refresh_from_db()
        assert drift.owner is None, "looking changes nothing"
        client.post(address, {"take_on": "1"})
        drift.refresh_from_db()
        assert (str(drift.owner), drift.state) == ("fay", "open")


def test_the_sidebar_counts_what_waits_and_does_not_cry_zero(client: Client):
    client.force_login(make_person("otto", "ops"))
    badge = "rounded-xs text-center text-[11px]"
    assert badge not in client.get(reverse("admin:index")).content.decode()
    raise_alert(name="test", severity="info", subject="a test", detail="for the test", now=NOW)
    page = client.get(reverse("admin:index")).content.decode()
    assert page.count(badge) == 1
    assert f'{badge} text-red-700 dark:bg-red-500/20 dark:text-red-400">1</span>' in page
