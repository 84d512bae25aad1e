"""Finance looks at late usage, sees why it costs what it costs, and decides."""

from __future__ import annotations

import pytest

from metering.models import TrueUp
from tests.browser.conftest import Login
from tests.cohorts.factories import make_person
from tests.metering.true_up_world import bill, make_payer, propose, tell

pytestmark = [
    pytest.mark.django_db(transaction=True, databases=["default", "legacy"]),
    pytest.mark.slow,
]


def test_finance_approves_with_a_reason_and_ops_may_only_look(console: str, login: Login):
    payer = make_payer(id=5001, name="Quarry Lane Bakery")
    bill(payer, units=250_000)
    tell(payer, 60_001)
    tell(payer, 50_001, day="2026-10-31")
    tell(payer, 20_000, day="2026-10-31", reason="double counted")
    (true_up,) = propose()
    make_person("otto", "ops")
    make_person("fay", "finance")

    ops = login("otto")
    ops.goto(f"/admin/metering/trueup/{true_up.pk}/change/")
    ops.wait_for_selector("h1:has-text('Quarry Lane Bakery')")
    assert ops.locator("text=Finance decides.").count() == 1
    assert ops.locator("button:has-text('Approve')").count() == 0

    finance = login("fay")
    finance.goto("/admin/metering/usagefeed/month/5001/?period=2026-10")
    finance.click("section:has-text('came after the invoice was finalized') a")
    finance.wait_for_selector("text=All units of the payer")
    assert finance.locator("tr:has-text('All units of the payer') .bw-num").all_inner_texts() == [
        "250,000", "330,001", "137.65 USD",
    ]  # fmt: skip
    finance.fill("input[name=reason]", "agreed with the customer on 6 November")
    finance.click("button:has-text('Approve 137.65 USD')")
    finance.wait_for_selector("text=fay, ")
    true_up = TrueUp.objects.get()
    assert (true_up.state, true_up.decided_by) == ("approved", "fay")
