"""Sampled meters, tiers and plans in the console: with the permission, through the services, in the audit trail."""

from __future__ import annotations

import pytest
import time_machine
from django.contrib.auth.models import Group, User
from django.test import Client

from billing_worker.accounts.models import AuditEntry
from billing_worker.catalog.models import SampledMeter, SampledPlan, SampledPrice, SampledTier
from tests.factories import AccountFactory
from tests.metering.factories import NOW, make_sampled_meter, put_on_tier

pytestmark = pytest.mark.django_db
METERS = "/admin/catalog/sampledmeter/"
TIERS = "/admin/catalog/sampledtier/"
PLANS = "/admin/catalog/sampledplan/"


def sign_in(role: str) -> Client:
    user = User.objects.create_user(f"fay-{role}", is_staff=True)
    user.groups.add(Group.objects.get(name=role))
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def finance():
    with time_machine.travel(NOW, tick=False):
        yield sign_in("finance")


METER = {
    "name": "gb_seconds",
    "shown_as": "GB-seconds",
    "quantity": "gb_seconds",
    "billing_mode": "per_tier",
    "bucket": "hour",
    "tiers": "standard=usd:0.9\r\n\r\npro = usd:0.5, eur:0.45",
    "reason": "new product",
}


def test_a_meter_is_defined_with_its_tiers(finance):
    assert finance.get(f"{METERS}add/").status_code == 200
    answer = finance.post(f"{METERS}add/", METER, follow=True)
    assert "gb_seconds is defined. Run catalog_apply" in answer.content.decode()
    assert list(SampledTier.objects.values_list("event_name", flat=True)) == [
        "gb_seconds_pro",
        "gb_seconds_standard",
    ]
    assert SampledPrice.objects.get(tier__name="pro", currency="eur").tiers == [
        {"up_to": None, "unit_amount_decimal": "0.45"}
    ]
    entry = AuditEntry.objects.get()
    assert (entry.action, entry.actor, entry.reason) == (
        "catalog.sampled_meter_defined",
        "fay-finance",
        "new product",
    )
    page = finance.get(f"{METERS}{SampledMeter.objects.get().pk}/change/").content.decode()
    assert "eur 0.45; usd 0.5" in page


def test_one_meter_for_everybody_takes_a_single_line(finance):
    sent = METER | {"billing_mode": "unified", "tiers": "all=usd:0.5"}
    assert finance.post(f"{METERS}add/", sent).status_code == 302
    assert SampledTier.objects.get().event_name == "gb_seconds"


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"name": "GB"}, "name"),
        ({"tiers": "pro=usd:much"}, "__all__"),
        ({"tiers": "pro=usd:1e400"}, "__all__"),
        ({"tiers": "pro=usd:-1"}, "__all__"),
        ({"tiers": "pro=US:1"}, "tiers"),
        ({"tiers": "pro\npro"}, "__all__"),
        ({"tiers": " "}, "tiers"),
        ({"billing_mode": "unified"}, "tiers"),
        ({"reason": " "}, "reason"),
        ({"quantity": "tonnes"}, "quantity"),
    ],
)
def test_what_cant_be_is_told_at_its_field(finance, change, field):
    answer = finance.post(f"{METERS}add/", METER | change)
    assert answer.status_code == 422
    assert field in answer.context["form"].errors
    assert not SampledMeter.objects.exists()
    assert not AuditEntry.objects.exists()


def test_a_new_price_is_a_new_tier(finance):
    make_sampled_meter()
    sent = {"meter": "gb_seconds", "name": "pro_2027", "prices": "usd:0.4", "reason": "cheaper"}
    assert "gb_seconds_pro_2027 is added" in finance.post(f"{TIERS}add/", sent, follow=True).content.decode()
    assert AuditEntry.objects.filter(action="catalog.sampled_tier_added", reason="cheaper").count() == 1
    taken = finance.post(f"{TIERS}add/", sent)
    assert taken.context["form"].errors["name"]


def test_a_plan_begins_with_a_month_to_come(finance):
    AccountFactory.create(id=5001)
    make_sampled_meter()
    put_on_tier(5001, "standard")
    sent = {"account": "5001", "meter": "gb_seconds", "tier": "pro", "from_period": "2026-12", "reason": "up"}
    done = finance.post(f"{PLANS}add/", sent, follow=True)
    assert "Account 5001 is on gb_seconds_pro from 2026-12." in done.content.decode()
    refused = finance.post(f"{PLANS}add/", sent | {"from_period": "2026-11"})
    assert "2026-11 has begun" in refused.content.decode()
    for change in ({"account": "77"}, {"tier": "gold"}, {"from_period": "soon"}):
        assert finance.post(f"{PLANS}add/", sent | change).status_code == 422
    assert finance.post(f"{PLANS}add/", sent | {"refuse": "on", "from_period": "2027-02"}).status_code == 302
    assert list(SampledPlan.objects.values_list("from_period", "tier__name")) == [
        ("2026-01", "standard"),
        ("2026-12", "pro"),
        ("2027-02", None),
    ]


def test_other_roles_look_only():
    make_sampled_meter()
    for role, allowed in (("engineer", ()), ("ops", (PLANS,))):
        client = sign_in(role)
        for url in (METERS, TIERS, PLANS):
            assert client.get(url).status_code == 200
            expected = 200 if url in allowed else 403
            assert client.get(f"{url}add/").status_code == expected
            assert client.post(f"{url}add/", {}).status_code == (422 if url in allowed else 403)
    assert client.post(f"{METERS}{SampledMeter.objects.get().pk}/change/", {"title": "x"}).status_code == 403
