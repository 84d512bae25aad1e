"""Finance sees on an account's page what Stripe has, decides about a difference, and has the rest brought in step."""

from __future__ import annotations

import pytest

from billing_worker.accounts.models import AuditEntry
from tests.browser.conftest import Login
from tests.cohorts.factories import make_person
from tests.cohorts.fixtures import stripe as stripe
from tests.customers.world import change, edit_at_stripe, look, provision, sync

pytestmark = [
    pytest.mark.django_db(transaction=True, databases=["default", "legacy"]),
    pytest.mark.slow,
]


def test_finance_decides_about_what_a_person_changed_at_stripe(console: str, login: Login, stripe):
    account = provision(name="Beispiel GmbH")
    sync(account)
    edit_at_stripe(account, email="portal@example.com")
    change(account, tax_id_value="DE12", locale="de_AT")
    make_person("fay", "finance")
    make_person("eve", "engineer")

    page = login("fay")
    page.goto(f"/admin/accounts/account/{account.pk}/change/")
    page.click("button:has-text('Look at Stripe now')")
    page.wait_for_selector("#at-stripe >> text=Invalid value for eu_vat.")
    row = page.locator("#at-stripe tr:has-text('E-mail')").first
    assert row.locator("td").all_inner_texts()[1:] == [
        "rechnung@example.com", "portal@example.com", "changed at Stripe",
    ]  # fmt: skip
    assert look(account).preferred_locales == ("de-AT", "de")
    page.fill("#at-stripe input[name=reason]", "their book-keeper said so")
    page.click("button:has-text('Write ours')")
    page.wait_for_selector("text=Stripe refused something")
    assert look(account).email == "rechnung@example.com"
    assert AuditEntry.objects.get(action="customer.ours_decided").reason == "their book-keeper said so"

    engineer = login("eve")
    engineer.goto("/admin/customers/customersync/")
    engineer.click("a:has-text('Beispiel GmbH')")
    engineer.wait_for_selector("#at-stripe >> text=refused by Stripe")
    assert engineer.locator("#at-stripe button").count() == 0
