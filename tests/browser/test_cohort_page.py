"""People move a cohort in the console: look, open the gate, sign, and see that it is migrated."""

from __future__ import annotations

from pathlib import Path

import pytest

from cohorts.models import Cohort
from cohorts.services import open_gate
from cohorts.states import CohortState
from tests.browser.conftest import Login
from tests.cohorts.factories import NOW, Month, make_cohort, make_person

pytestmark = [
    pytest.mark.django_db(transaction=True, databases=["default", "legacy"]),
    pytest.mark.slow,
]
MONTHS = (
    Month("Halvorsen & Pike Outdoor, Inc.", 24900, 24900),
    Month("Bäckerei Grünwald GmbH", 9900, 9900, "eur"),
    Month("Copperleaf Studio LLC", 16065, 16065),
    Month("株式会社あおぞら商店", 48000, 48000, "jpy"),
    Month("Muñoz y Castaño S.L.", 9999, 9999, "eur"),
)


def test_two_people_sign_and_the_page_says_migrated(console: str, login: Login):
    cohort = make_cohort(*MONTHS)
    make_person("otto", "ops", first_name="Otto", last_name="Hale")
    make_person("fay", "finance", first_name="Fay", last_name="Lindqvist")

    ops = login("otto")
    ops.click("text=cohort-1")
    ops.wait_for_selector("h1:has-text('Dual run')")
    ops.click("text=Open the gate")
    ops.wait_for_selector("text=The gate is open: two people can sign now.")
    ops.click("text=/Sign for evidence [0-9a-f]{12}/")
    ops.wait_for_selector("text=Your signature is recorded.")
    assert ops.locator("text=You have signed; the other signature is another person's.").count() == 1
    assert ops.locator("text=missing: 1 more signature, one from finance").count() == 1

    finance = login("fay")
    finance.goto(ops.url)
    finance.click("text=/Sign for evidence [0-9a-f]{12}/")
    finance.wait_for_selector("h1:has-text('Migrated')")
    assert finance.locator(".bw-list b").all_inner_texts() == ["Otto Hale", "Fay Lindqvist"]
    cohort.refresh_from_db()
    assert cohort.state == CohortState.MIGRATED


def test_drift_keeps_the_button_shut_and_a_drift_is_accepted_with_a_reason(console: str, login: Login):
    make_cohort(*MONTHS[:2], Month("Tern & Co", 14900, 15000))
    make_person("otto", "ops")
    page = login("otto")
    page.click("text=cohort-1")
    assert page.locator("button:has-text('Open the gate')").is_disabled()
    page.click("text=the imported plan says 150.00 USD")
    page.click("text=Take on or accept")
    page.fill("textarea[name=reason]", "agreed with the customer on 3 November")
    page.click("text=Accept this drift")
    page.wait_for_selector("text=The drift is accepted")
    page.goto("/admin/")
    page.click("text=cohort-1")
    assert page.locator(".bw-badge:has-text('accepted')").count() == 1
    assert page.locator("button:has-text('Open the gate')").is_disabled(), "accepted drift is drift"


def test_a_page_that_is_out_of_date_signs_nothing(console: str, login: Login):
    cohort = make_cohort(*MONTHS[:2])
    open_gate(cohort_id=cohort.pk, actor="test", now=NOW)
    make_person("fay", "finance")
    page = login("fay")
    page.click("text=cohort-1")
    cohort.members.earliest("pk").delete()
    page.click("text=/Sign for evidence [0-9a-f]{12}/")
    page.wait_for_selector("text=the evidence of cohort cohort-1 has changed")
    assert not cohort.sign_offs.exists()
    assert Cohort.objects.get().state == CohortState.DUAL_RUN


def test_engineers_look_and_do_not_sign(console: str, login: Login):
    cohort = make_cohort(*MONTHS[:1])
    open_gate(cohort_id=cohort.pk, actor="test", now=NOW)
    make_person("erin", "engineer")
    page = login("erin")
    page.click("text=cohort-1")
    assert page.locator("text=People with the ops or finance role sign here.").count() == 1
    assert page.locator("text=/Sign for evidence/").count() == 0


@pytest.mark.parametrize("width", [1440, 800, 390])
def test_nothing_sticks_out_sideways(console: str, login: Login, width: int):
    """The wide table scrolls in its own box; the page itself never does."""
    make_cohort(*MONTHS[:2], Month("Tern & Co", 14900, 15000), name="cohort-3")
    make_person("otto", "ops")
    page = login("otto", viewport={"width": width, "height": 900})
    for address in ("/admin/", f"/admin/cohorts/cohort/{Cohort.objects.get().pk}/change/"):
        page.goto(address)
        assert page.evaluate("document.documentElement.scrollWidth - window.innerWidth") <= 0, address


def test_pictures_for_the_readme(console: str, login: Login, screenshot_folder: Path):
    make_cohort(
        *MONTHS[:2], Month("Tern & Co", 14900, 15000), name="cohort-3", description="Custom arrangements"
    )
    cohort = make_cohort(*MONTHS, description="Flat subscription only")
    open_gate(cohort_id=cohort.pk, actor="otto", now=NOW)
    make_person("otto", "ops", first_name="Otto", last_name="Hale")
    make_person("fay", "finance", first_name="Fay", last_name="Lindqvist")
    page, finance = login("otto"), login("fay")
    page.screenshot(path=screenshot_folder / "console.png")
    for person in (page, finance):
        person.goto(f"/admin/cohorts/cohort/{cohort.pk}/change/")
        person.click("text=/Sign for evidence/")
    finance.wait_for_selector("h1:has-text('Migrated')")
    finance.reload()
    finance.screenshot(path=screenshot_folder / "cohort.png", full_page=True)
    assert (screenshot_folder / "cohort.png").stat().st_size > 10_000
