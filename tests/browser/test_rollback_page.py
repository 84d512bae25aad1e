"""Ops hands a cohort back to legacy: looks at what would happen, says why, follows it, and withdraws it."""

from __future__ import annotations

import os
from datetime import UTC, datetime

import pytest
from django.utils import timezone

from cohorts.models import Cohort, Rollback, RollbackStep
from tests.browser.conftest import Login
from tests.cohorts.factories import Month, make_cohort, make_person
from tests.factories import NOW

pytestmark = [
    pytest.mark.django_db(transaction=True, databases=["default", "legacy"]),
    pytest.mark.slow,
]
MONTHS = (
    Month("Halvorsen & Pike Outdoor, Inc.", 24900, 24900),
    Month("株式会社あおぞら商店", 48000, 48000, "jpy"),
    Month("Tern & Co", 14900, 15000),
)


def look(page, name: str) -> None:
    """A picture for a person, where one is asked for."""
    if folder := os.environ.get("LOOK"):
        page.screenshot(path=f"{folder}/{name}.png", full_page=True)


def test_there_and_back(console: str, login: Login, monkeypatch: pytest.MonkeyPatch):
    # What can be rolled back follows the clock: it is the 20th of November, whenever this runs.
    monkeypatch.setattr(timezone, "now", lambda: datetime.now(UTC).replace(2026, 11, 20))
    cohort = make_cohort(*MONTHS, name="cohort-3", description="Custom arrangements")
    make_person("otto", "ops")
    width, colours = int(os.environ.get("WIDTH", "1440")), os.environ.get("COLOURS", "light")
    page = login("otto", viewport={"width": width, "height": 900}, color_scheme=colours)
    page.goto(f"/admin/cohorts/cohort/{cohort.pk}/change/")
    page.get_by_role("link", name="Roll back to legacy").click()
    page.get_by_role("button", name="Roll back from December 2026 on").click()
    assert page.locator("textarea:invalid").count() == 1, "the browser asks for the reason"
    look(page, "plan")
    page.get_by_role("link", name="from January 2027").click()
    page.get_by_text("December 2026 is the last month that Stripe bills.").wait_for()
    page.get_by_role("link", name="from December 2026").click()
    assert page.evaluate("document.documentElement.scrollWidth - window.innerWidth") <= 0
    page.get_by_label("Why").fill("the tiers of October were billed a cent apart")
    page.get_by_role("button", name="Roll back from December 2026 on").click()
    page.get_by_role("heading", name="Legacy bills from December 2026 on").wait_for()
    assert Rollback.objects.get().requested_by == "otto"

    first, second, _ = RollbackStep.objects.order_by("pk")
    RollbackStep.objects.filter(pk=first.pk).update(state="done", settled_at=NOW)
    RollbackStep.objects.filter(pk=second.pk).update(error="Stripe did not answer: try again later")
    page.reload()
    page.get_by_text("Stripe did not answer: try again later").wait_for()
    page.get_by_text("2 subscriptions to be ended at Stripe").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth - window.innerWidth") <= 0
    look(page, "rolled-back")
    page.get_by_role("link", name="Withdraw the rollback").click()
    look(page, "withdraw")
    page.get_by_label("Why").fill("explained")
    page.get_by_role("button", name="Withdraw the rollback").click()
    page.get_by_role("heading", name="The rollback from December 2026 is being withdrawn").wait_for()
    assert Cohort.objects.get().state == "rolled_back", "until every subscription goes on"
