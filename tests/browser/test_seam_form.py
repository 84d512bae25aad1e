"""Ops changes a cohort's seam: from its page, refused once with the reason at its field, then taken."""

from __future__ import annotations

import os

import pytest

from metering.models import SeamSetting
from tests.browser.conftest import Login
from tests.cohorts.factories import make_cohort, make_person

pytestmark = [
    pytest.mark.django_db(transaction=True, databases=["default", "legacy"]),
    pytest.mark.slow,
]


def test_from_the_cohorts_page_and_back(console: str, login: Login):
    cohort = make_cohort(reconciled=False)
    make_person("olu", "ops")
    page = login("olu")
    page.goto(f"{console}/admin/cohorts/cohort/{cohort.pk}/change/")
    page.get_by_role("link", name="Change the seam").click()
    page.get_by_label("Bill from").select_option("date")
    page.get_by_label("Why").fill("agreed with finance")
    page.get_by_role("button", name="Change the seam").click()
    assert page.get_by_role("alert").last.inner_text() == "Give the first day that is sent."
    assert page.get_by_label("Why").input_value() == "agreed with finance"
    if folder := os.environ.get("LOOK"):
        page.screenshot(path=f"{folder}/seam.png")
    page.get_by_label("Day").fill("2026-10-05")
    page.get_by_role("button", name="Change the seam").click()
    page.get_by_text("2 accounts: ").wait_for()
    assert set(SeamSetting.objects.values_list("bill_from__date__day", "shadow")) == {(5, True)}
