"""Ops finds what waits on the overview, and ends it with one press."""

from __future__ import annotations

import pytest

from tests.browser.conftest import Login
from tests.cohorts.factories import make_person
from tests.invoices.test_attention import make_void

pytestmark = [pytest.mark.django_db(transaction=True, databases=["default", "legacy"]), pytest.mark.slow]


def test_from_the_overview_to_one_mail_about_a_void_invoice(console: str, login: Login):
    void = make_void()
    make_person("otto", "ops")
    page = login("otto", permissions=["clipboard-read", "clipboard-write"])
    page.keyboard.press("Tab")
    assert page.locator(":focus").inner_text() == "Skip to the content"
    assert page.locator("[role=main]").count() == 1

    page.click("section:has-text('wait for a person') a:has-text('Revision not mailed')")
    page.click(f"#result_list a:has-text('{void.number}')")
    page.click("[data-copy]")
    page.wait_for_selector("[data-copy]:has-text('Copied')")
    assert page.evaluate("navigator.clipboard.readText()") == void.invoice.stripe_invoice_id

    # Twice in one go: the form leaves once.
    page.dblclick(f"button:has-text('Mail it to {void.account.billing_email}')")
    page.wait_for_selector(f"text=Queued for {void.account.billing_email}.")
    assert page.locator("text=Nobody was mailed about this revision").count() == 0
    mail = void.mails.get()
    assert (mail.reason, mail.requested_by) == ("The invoice was voided after it was mailed", "otto")
