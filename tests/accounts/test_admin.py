"""The console's pages of accounts, as each role sees them."""

from __future__ import annotations

import re

import pytest
from django.contrib.auth.models import Group, User
from django.test import Client
from django.urls import reverse

from billing_worker.accounts.audit import record_audit
from billing_worker.accounts.models import AuditEntry, ServiceKey
from billing_worker.catalog.models import CatalogMeter
from tests.factories import (
    NOW,
    AccountFactory,
    AccountPlanFactory,
    BillingLeaseFactory,
    ClockFactory,
    CustomerAccountFactory,
    ManagedJobFactory,
    make_tiers,
)

pytestmark = pytest.mark.django_db


def log_in(role: str | None) -> Client:
    user = User.objects.create_user(
        username=f"a-{role}", password="x", is_staff=True, is_superuser=role is None
    )
    if role:
        user.groups.add(Group.objects.get(name=role))
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def account():
    parent = CustomerAccountFactory.create(name="Northmere & Daughters")
    child = AccountFactory.create(parent=parent, name="Southmere Ltd")
    AccountPlanFactory.create(account=child)
    make_tiers(child, "ST", (1000, "0"), (None, "0.25"))
    ManagedJobFactory.create(account=child)
    BillingLeaseFactory.create(account=child)
    ClockFactory.create()
    CatalogMeter.objects.create(usage_type="ST", event_name="impressions_st", stripe_meter_id="mtr_1")
    record_audit(actor="ops", action="x.y", subject_type="account", subject_id=child.pk, at=NOW)
    return child


PAGES = ["account", "billinglease", "managedjob", "testclock", "auditentry", "servicekey"]


@pytest.mark.parametrize("role", ["ops", "finance", "engineer"])
def test_every_role_sees_the_lists(account, role):
    client = log_in(role)
    for page in PAGES:
        assert client.get(reverse(f"admin:accounts_{page}_changelist")).status_code == 200
    for page in ("catalogmeter", "catalogproduct", "catalogprice"):
        assert client.get(reverse(f"admin:catalog_{page}_changelist")).status_code == 200


def test_how_documents_are_written_is_changed_in_the_console_and_audited(account):
    url = reverse("admin:accounts_account_change", args=[account.pk])
    form = {
        "locale": "fr_CA",
        "invoice_format": "facturx",
        "tax_id_type": "eu_vat",
        "tax_id_value": "FR00000000000",
    }
    for formset in ("plans", "tiers", "managed_jobs", "leases"):
        form |= {f"{formset}-TOTAL_FORMS": "0", f"{formset}-INITIAL_FORMS": "0"}
    client = log_in("finance")
    half = client.post(url, {**form, "tax_id_value": ""})
    assert half.status_code == 200, "a tax id without a number is refused"
    response = client.post(url, {**form, "name": "Somebody Else"})
    assert response.status_code == 302
    account.refresh_from_db()
    assert (account.name, account.locale, account.invoice_format) == (
        "Southmere Ltd",
        "fr_CA",
        "facturx",
    )
    assert (account.tax_id_type, account.tax_id_value) == ("eu_vat", "FR00000000000")
    entry = AuditEntry.objects.get(action="account.document_settings_changed")
    assert (entry.before["locale"], entry.after["locale"]) == ("", "fr_CA")


def test_an_account_s_page_shows_its_terms_and_offers_no_change(account):
    page = log_in("engineer").get(reverse("admin:accounts_account_change", args=[account.pk]))
    text = page.content.decode()
    assert "Northmere &amp; Daughters" in text
    assert "1,250.00 USD" in text
    assert 'name="_save"' not in text


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("southmere", ["Southmere Ltd"]),
        ("LTD south", ["Southmere Ltd"]),
        ("MERE", ["Northmere & Daughters", "Southmere Ltd"]),
        ("mere nobody", []),
        ("50%", []),
        ("_", ["Northmere & Daughters"]),
    ],
)
def test_accounts_are_found_whatever_the_case(account, words, found):
    listing = log_in("ops").get(reverse("admin:accounts_account_changelist"), {"q": words})
    assert [row.name for row in listing.context["cl"].queryset.order_by("name")] == found


def test_accounts_are_found_by_id_and_customer(account):
    client = log_in("ops")
    for words in (str(account.parent_id), account.parent.stripe_customer_id.upper()):
        listing = client.get(reverse("admin:accounts_account_changelist"), {"q": words})
        assert list(listing.context["cl"].queryset) == [account.parent]


def test_nothing_is_changed_by_hand(account):
    change = reverse("admin:accounts_account_change", args=[account.pk])
    assert log_in("engineer").post(change, {"name": "Renamed"}).status_code == 403


def test_the_audit_trail_can_not_be_changed_even_by_a_superuser(account):
    entry = AuditEntry.objects.get()
    client = log_in(None)
    assert client.post(reverse("admin:accounts_auditentry_change", args=[entry.pk]), {}).status_code == 403
    assert client.post(reverse("admin:accounts_auditentry_delete", args=[entry.pk])).status_code == 403


def test_an_engineer_creates_a_key_sees_it_once_and_revokes_it(account):
    client = log_in("engineer")
    add = reverse("admin:accounts_servicekey_add")
    page = client.post(add, {"name": "admin-api", "scopes": ["usage:write"]}, follow=True).content.decode()
    shown = re.search(r"is (\S+\.\S+) \. Copy it now", page)
    assert shown is not None
    key = ServiceKey.objects.get(pk=ServiceKey.objects.get_from_key(shown[1]).pk)
    assert (key.scopes, key.created_by) == (["usage:write"], User.objects.get())

    listing = reverse("admin:accounts_servicekey_changelist")
    assert shown[1] not in client.get(listing).content.decode()
    client.post(listing, {"action": "revoke", "_selected_action": [key.pk]})
    key.refresh_from_db()
    assert key.revoked
    assert AuditEntry.objects.filter(action="service_key.revoked").exists()


def test_others_may_not_create_keys(account):
    assert log_in("finance").get(reverse("admin:accounts_servicekey_add")).status_code == 403


def test_people_and_roles_have_pages_for_a_superuser(account):
    client = log_in(None)
    user = User.objects.get()
    for name, args in (
        ("user_changelist", []),
        ("user_add", []),
        ("user_change", [user.pk]),
        ("group_changelist", []),
    ):
        assert client.get(reverse(f"admin:auth_{name}", args=args)).status_code == 200
