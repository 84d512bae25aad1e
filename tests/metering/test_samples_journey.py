"""Samples from a signed POST to Stripe's meters and invoice, through the commands, against the stand-in over HTTP."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.test import Client
from django.utils import timezone
from pydantic import SecretStr

from billing_worker import gateway
from billing_worker.accounts.models import AuditEntry
from billing_worker.catalog.models import CatalogMeter, CatalogPrice, CatalogProduct
from billing_worker.catalog.sampled.models import SampledPlan
from billing_worker.catalog.selectors import get_kind_for_product
from billing_worker.catalog.services import plan_catalog
from billing_worker.core.periods import Period
from cohorts.services import ProvisioningOptions, create_cohort, provision_cohort
from metering.models import MeterEvent
from metering.signatures import sign_message
from tests.factories import NOW, AccountFactory, AccountPlanFactory, BillingLeaseFactory
from tests.metering.factories import make_sample

pytestmark = pytest.mark.django_db
SECRET = "invented-secret-of-samples-00001"
OCTOBER = Period(2026, 10)


@pytest.fixture
def account(sandbox_server, settings):
    """An account on tier pro, provisioned on a test clock of 1 October."""
    sandbox_server.reset()
    settings.ENV = settings.ENV.model_copy(
        update={
            "STRIPE_API_BASE": sandbox_server.url,
            "SHADOW": False,
            "SAMPLES_SECRET": [SecretStr(SECRET)],
        }
    )
    account = AccountFactory.create(id=5001)
    AccountPlanFactory.create(account=account)
    BillingLeaseFactory.create(account=account)
    call_command(
        *("define_sampled_meter", "gb_seconds", "--title=GB-seconds", "--quantity=gb_seconds"),
        *("--tier=standard=usd:0.9", "--tier=pro=usd:0.5", "--reason=new product"),
    )
    set_plan("--tier=pro", "--from=2026-10")
    call_command("catalog_apply", at=date(2026, 10, 1))
    cohort = create_cohort(name="sampled", account_ids=[5001], actor="test", now=NOW)
    provision_cohort(
        cohort_id=cohort.pk,
        period=OCTOBER,
        options=ProvisioningOptions(use_test_clocks=True, test_payment_method="pm_card_visa"),
        actor="test",
        now=NOW,
    )
    account.refresh_from_db()
    return account


def post(*samples) -> dict[str, int]:
    body = json.dumps({"samples": list(samples)}).encode()
    headers = sign_message(message=body, secret=SECRET, at=timezone.now())
    answer = Client().post("/usage/samples", body, content_type="application/json", headers=headers)
    assert answer.status_code == 202, answer.content
    return {name: answer.json()[name] for name in ("accepted", "duplicate", "rejected")}


def get_total(account) -> int:
    meter = CatalogMeter.objects.get(event_name="gb_seconds_pro")
    summaries = gateway.list_meter_event_summaries(
        meter=meter.stripe_meter_id, customer=account.stripe_customer_id, start_at=OCTOBER.start_at,
        end_at=OCTOBER.end_at,
    )  # fmt: skip
    return sum(summary.value for summary in summaries)


def test_samples_reach_the_meter_of_the_plan_and_its_price(account, capsys):
    assert plan_catalog(at=date(2026, 10, 1)).changes == ()
    price = CatalogPrice.objects.get(lookup_key__startswith="sampled_gb_seconds_pro_usd_")
    product = CatalogProduct.objects.get(kind="gb_seconds_pro")
    assert (product.stripe_product_id, product.name) == ("billing_sampled_gb_seconds_pro", "GB-seconds (pro)")
    assert get_kind_for_product(product.stripe_product_id) == "sampled"
    subscription = gateway.get_subscription(account.cohort_members.get().stripe_subscription_id)
    assert price.stripe_price_id in {item.price for item in subscription.items}

    start = datetime(2026, 10, 1, tzinfo=UTC)
    minutes = [
        make_sample(f"m{n}", (start + timedelta(minutes=n)).isoformat(), dimensions={"memory_mb": 100})
        for n in range(1, 301)
    ]
    assert post(*minutes) == {"accepted": 300, "duplicate": 0, "rejected": 0}
    assert post(*minutes[:10]) == {"accepted": 0, "duplicate": 10, "rejected": 0}
    call_command("advance_test_clocks", to="2026-10-31T23:30:00Z")
    call_command("roll_up_usage")
    call_command("send_meter_events", until_drained=True)

    # 300 minutes of 100 MB are 1,757.8125 GB-seconds.
    assert get_total(account) == 1757
    assert post(make_sample("late", "2026-10-01T01:00:00Z", interval_s=10, dimensions={"memory_mb": 20})) == {
        "accepted": 1, "duplicate": 0, "rejected": 0,
    }  # fmt: skip
    call_command("roll_up_usage")
    call_command("send_meter_events", until_drained=True)

    # 0.8125 carried and 0.1953125 late: one more.
    assert get_total(account) == 1758
    assert MeterEvent.objects.get(identifier="5001:2026-10-01T00:gb_seconds_pro:1").value == 1
    assert set(MeterEvent.objects.values_list("state", flat=True)) == {"sent"}
    assert set(AuditEntry.objects.values_list("action", flat=True)) >= {
        "catalog.sampled_meter_defined", "catalog.sampled_plan_set",
    }  # fmt: skip


def set_plan(*arguments: str) -> None:
    call_command("set_sampled_plan", "--accounts=5001", "--meter=gb_seconds", "--reason=signed", *arguments)


def test_a_begun_month_keeps_its_plan(account):
    with pytest.raises(CommandError, match="2026-10 has begun"):
        set_plan("--tier=standard", "--from=2026-10")
    set_plan("--none", "--from=2031-01")
    assert list(SampledPlan.objects.values_list("from_period", "tier__name")) == [
        ("2026-10", "pro"),
        ("2031-01", None),
    ]
    with pytest.raises(CommandError, match="never redefined"):
        call_command(
            *("define_sampled_meter", "gb_seconds", "--title=x", "--quantity=gb_seconds"),
            *("--tier=a", "--reason=x"),
        )
