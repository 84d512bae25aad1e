"""A person asks why a bill is what it is: find the account, look at its month, turn the page, follow the bill."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from billing_worker.accounts.models import Account
from metering.services.ingest import store_usage
from tests.browser.conftest import Login
from tests.cohorts.factories import make_person
from tests.factories import (
    AccountFactory,
    AccountPlanFactory,
    BillingLeaseFactory,
    CustomerAccountFactory,
    ManagedJobFactory,
    make_tiers,
)
from tests.metering.factories import NOW, MeterEventFactory, make_input
from tests.reconciliation.factories import OCTOBER_FIRST, add_stripe_invoice, make_stripe_line

pytestmark = [
    pytest.mark.django_db(transaction=True, databases=["default", "legacy"]),
    pytest.mark.slow,
]


def make_family() -> Account:
    """A payer with a child, 31 days of two types, restatements on three days, and events in several states."""
    payer = CustomerAccountFactory.create(id=5101, name="Northmere Group, Inc.")
    child = AccountFactory.create(id=5102, name="Northmere Regional Papers LLC", parent=payer)
    AccountPlanFactory.create(account=payer)
    make_tiers(payer, "ST", (1_000_000, "0"), (2_000_000, "0.098"), (None, "0.076"))
    make_tiers(payer, "RM", (200_000, "0.152"), (None, "0.128"))
    ManagedJobFactory.create(account=child, title="Archive import")
    BillingLeaseFactory.create(account=payer)
    records = [
        make_input(account.pk, f"2026-10-{day:02d}", kind, quantity + day * 7_919 % 41_000)
        for day in range(1, 32)
        for account, kind, quantity in ((payer, "ST", 60_000), (payer, "RM", 9_000), (child, "ST", 11_000))
    ]
    records += [
        make_input(payer.pk, f"2026-10-{day}", "ST", 120_000, "late log files from the second region")
        for day in ("08", "19", "20")
    ]
    outcomes = store_usage(records=records, author="warehouse", now=NOW)
    assert {outcome.status for outcome in outcomes} == {"created", "restated"}
    MeterEventFactory.create(account=payer, state="sent", sent_at=NOW)
    MeterEventFactory.create(account=payer, bucket="2026-10-06", state="rejected", reason="no such customer")
    add_stripe_invoice(payer, make_stripe_line("sub", 49_900), created_at=OCTOBER_FIRST)
    return payer


def test_from_the_usage_list_to_the_bill_of_the_payer(console: str, login: Login):
    make_family()
    make_person("fay", "finance")
    page = login("fay")
    page.goto("/admin/metering/usagefeed/")
    page.click("text=Find an account's month")
    page.fill("input[name=account]", "regional")
    page.press("input[name=account]", "Enter")
    page.wait_for_selector("h1:has-text('Northmere Regional Papers LLC')")
    assert page.locator(".us-chart").count() == 1
    page.click("text=Northmere Group, Inc. >> nth=0")
    page.wait_for_selector("h1:has-text('Northmere Group, Inc.')")
    assert page.locator(".us-chart").count() == 2
    assert page.locator("text=through the payer's tiers together").count() == 2
    assert page.locator(".us-chart circle").count() == 3
    page.click("a[rel=next]")
    page.wait_for_selector("text=No usage is held for this month.")


def test_from_the_account_to_its_month(console: str, login: Login):
    payer = make_family()
    make_person("otto", "ops")
    page = login("otto")
    page.goto(f"/admin/accounts/account/{payer.pk}/change/")
    page.click("text=Usage and bill")
    page.wait_for_selector("h2:has-text('Why this amount')")
    assert page.locator("h2:has-text('Usage by day')").count() == 1


@pytest.mark.parametrize("width", [1440, 800, 390])
def test_nothing_sticks_out_and_the_charts_fill_their_box(console: str, login: Login, width: int):
    payer = make_family()
    make_person("otto", "ops")
    page = login("otto", viewport={"width": width, "height": 900})
    page.goto(f"/admin/metering/usagefeed/month/{payer.pk}/?period=2026-10")
    assert page.evaluate("document.documentElement.scrollWidth - window.innerWidth") <= 0
    boxes: list[dict[str, Any]] = page.evaluate(
        """[...document.querySelectorAll('svg[role=img]')].map(chart => {
            const box = chart.getBoundingClientRect();
            const bars = [...chart.querySelectorAll('rect')].map(bar => bar.getBoundingClientRect());
            const texts = [...chart.querySelectorAll('.us-tier')].map(text => text.getBoundingClientRect());
            return {bars: bars.length, narrowest: Math.min(...bars.map(bar => bar.width)),
                    outside: [...bars, ...texts].filter(b => b.left < box.left - 1 || b.right > box.right + 1).length,
                    sunk: bars.filter(bar => bar.bottom > box.bottom).length};
        })"""
    )
    assert [box["bars"] for box in boxes] == [31, 31]
    assert all(box["narrowest"] >= 4 and not box["outside"] and not box["sunk"] for box in boxes), boxes


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_picture_of_the_month(console: str, login: Login, screenshot_folder: Path, scheme: str):
    payer = make_family()
    make_person("fay", "finance", first_name="Fay", last_name="Lindqvist")
    page = login("fay", color_scheme=scheme)
    page.goto(f"/admin/metering/usagefeed/month/{payer.pk}/?period=2026-10")
    picture = screenshot_folder / f"usage-{scheme}.png"
    page.screenshot(path=picture)
    assert picture.stat().st_size > 10_000
