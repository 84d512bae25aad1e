"""What people and the other side see of samples: the account's page, its estimate, the API, parity and held drafts."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client

from billing_worker.accounts.states import AccountStatus
from billing_worker.catalog.models import CatalogProduct
from billing_worker.catalog.sampled.models import SampledPrice
from billing_worker.core.periods import Period
from metering.console import page
from metering.draft_window.completeness import find_open_samples
from metering.estimate import estimate_bill
from metering.models import MeterEvent
from metering.parity.comparison import Tolerances
from metering.parity.selectors import get_quantities
from metering.parity.services import leave_out_unasked
from metering.parity.windows import Window
from metering.samples.roll_up import roll_up_samples
from tests.factories import (
    AccountFactory,
    AccountPlanFactory,
    BillingLeaseFactory,
    CustomerAccountFactory,
    make_service_key,
)
from tests.metering.factories import LIVE, NOW, make_sample, make_sampled_meter, put_on_tier, store_sample
from tests.reconciliation.factories import add_stripe_invoice, make_stripe_line

pytestmark = pytest.mark.django_db
OCTOBER = Period(2026, 10)


def roll_up(now: datetime = NOW) -> None:
    for _ in roll_up_samples(now=now, grace=timedelta(hours=1), seam=LIVE):
        pass


@pytest.fixture
def account():
    """An account with a flat fee, a child on another tier, and samples of both: 90.5 and 60 GB-seconds."""
    account = CustomerAccountFactory.create(id=5001, name="Quarry Lane Bakery")
    AccountPlanFactory.create(account=account)
    AccountFactory.create(id=5002, parent=account)
    BillingLeaseFactory.create(account=account)
    make_sampled_meter(rate="10.5")
    put_on_tier(5001, "pro")
    put_on_tier(5002, "pro")
    store_sample(
        make_sample("a"),
        make_sample("b", "2026-10-07T00:00:15Z", interval_s=Decimal("30.5")),
        make_sample("c", account_id=5002),
    )
    return account


def test_the_estimate_prices_whole_units_of_the_family(account):
    roll_up()
    estimate = estimate_bill(account, period=OCTOBER, now=NOW)
    [charges] = estimate.sampled
    # 90 and 60 whole units; 150 x 10.5 cents on top of the flat fee.
    assert (charges.event_name, charges.units, charges.amount_minor) == ("gb_seconds_pro", 150, 1575)
    assert estimate.total_minor == 49_900 + 1_575

    account.status = AccountStatus.SUSPENDED
    account.save()
    assert estimate_bill(account, period=OCTOBER, now=NOW).sampled == ()


@pytest.fixture
def client():
    user = User.objects.create_user("viewer", is_staff=True)
    user.user_permissions.set(
        Permission.objects.filter(codename__in=["view_usagefeed", "view_account", "view_usagerecord"])
    )
    client = Client()
    client.force_login(user)
    return client


def test_the_page_draws_and_explains_them(account, client):
    roll_up()
    text = client.get("/admin/metering/usagefeed/month/5001/", {"period": "2026-10"}).content.decode()
    for expected in (
        "<h3>GB-seconds (pro) <span>90.500</span></h3>",
        "<title>2026-10-05: 60</title>",
        "150 whole units = 90 of 5001 + 60 of 5002.",
        "150 × 0.105 USD",
        "514.75 USD",
        "<code>gb_seconds_pro</code>",
    ):
        assert expected in text
    assert "No usage is held" not in text


def test_of_many_events_those_are_shown_that_wait_for_someone(account, client, monkeypatch):
    monkeypatch.setattr(page, "EVENTS_SHOWN", 1)
    roll_up()
    last = MeterEvent.objects.filter(account=5001).order_by("bucket")[2]
    MeterEvent.objects.filter(pk=last.pk).update(state="rejected", reason="no such customer")
    text = client.get("/admin/metering/usagefeed/month/5001/", {"period": "2026-10"}).content.decode()
    assert last.identifier in text
    assert "no such customer" in text
    assert '?q=5001%3A2026-10">2 more</a>' in text


def test_without_a_price_they_are_counted_and_not_billed(account, client):
    SampledPrice.objects.all().delete()
    roll_up()
    text = client.get("/admin/metering/usagefeed/month/5001/", {"period": "2026-10"}).content.decode()
    assert "no price is configured in USD, so they are counted and not billed." in text
    assert estimate_bill(account, period=OCTOBER, now=NOW).total_minor == 49_900


def test_the_api_tells_quantities_and_what_is_invoiced(account):
    CatalogProduct.objects.create(kind="gb_seconds_pro", stripe_product_id="prod_gb", name="GB-seconds")
    add_stripe_invoice(account, make_stripe_line("sampled", 945, quantity=90, product="prod_gb"))
    roll_up()
    answer = (
        Client()
        .get("/usage/5001/2026-10", headers={"Authorization": f"Api-Key {make_service_key('usage:read')}"})
        .json()
    )
    assert answer["sampled"] == [
        {
            "meter": "gb_seconds_pro",
            "title": "GB-seconds (pro)",
            "quantity": "90.500000",
            "in_meter_events": 90,
            "sent": 0,
            "is_complete": True,
            "days": {"2026-10-05": "60.000000", "2026-10-06": "15.500000", "2026-10-07": "15.000000"},
        }
    ]
    [line] = answer["invoiced"]
    assert (line["usage_type"], line["quantity"]) == ("gb_seconds_pro", 90)


@pytest.mark.parametrize(
    ("start", "end", "quantity"),
    [
        ("2026-10-01", "2026-11-01", "90.5"),
        ("2026-10-06", "2026-10-07", "15.5"),
        ("2026-10-06T23:00:00Z", "2026-10-07T01:00:00Z", "30.5"),
        ("2026-09-20", "2026-10-05T15:00:00Z", "60"),
        ("2026-10-05T15:00:00Z", "2026-10-06T23:00:00Z", None),
    ],
)
def test_parity_adds_up_the_hours_of_the_window(account, start, end, quantity):
    roll_up()
    held = get_quantities(Window.parse(start, end))
    assert held.get((5001, "gb_seconds_pro")) == (None if quantity is None else Decimal(quantity))


def test_integrals_are_compared_where_the_other_side_measures_them():
    ours = {(1, "gb_seconds_pro"): Decimal(5), (1, "ST"): Decimal(7)}
    impressions = {(1, "ST"): Decimal(7)}
    assert leave_out_unasked(ours, {}, Tolerances()) == impressions
    assert leave_out_unasked(ours, {(2, "gb_seconds_pro"): Decimal(1)}, Tolerances()) == ours
    assert leave_out_unasked(ours, {}, Tolerances.parse(["gb_seconds_pro=0.5"])) == ours


def test_samples_in_no_meter_event_hold_the_draft(account):
    def find() -> list[tuple[int, str]]:
        return list(find_open_samples(OCTOBER, [5001, 5002, 77]))

    # Three parts of two samples, and one of the child's.
    assert [pk for pk, _ in find()] == [5001, 5002]
    assert find()[0] == (5001, "3 samples or buckets of them wait for the roll-up")
    roll_up(datetime.fromisoformat("2026-10-05T15:30:00Z"))
    assert find()[0] == (5001, "3 samples or buckets of them wait for the roll-up")
    roll_up()
    assert find() == []
