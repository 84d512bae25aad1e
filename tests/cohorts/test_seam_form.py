"""The seam's form in the console, for accounts and for a cohort."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.test import Client

from billing_worker.accounts.models import Account, AuditEntry
from metering.models import MeterEvent, SeamSetting, UsageFeed
from tests.cohorts.factories import make_cohort
from tests.factories import BillingLeaseFactory, CustomerAccountFactory
from tests.metering.factories import MeterEventFactory

pytestmark = [
    pytest.mark.django_db(databases=["default", "legacy"]),
    pytest.mark.usefixtures("legacy_tables"),
]
FORM = "/admin/metering/seamsetting/change-seam/"
LIST = "/admin/metering/seamsetting/"


def log_in(role: str) -> Client:
    user = User.objects.create_user(role, is_staff=True)
    user.groups.add(Group.objects.get(name=role))
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def client() -> Client:
    return log_in("ops")


@pytest.fixture
def account() -> Account:
    account = CustomerAccountFactory.create()
    BillingLeaseFactory.create(account=account)
    for day in ("2026-10-04", "2026-10-05", "2026-10-06"):
        MeterEventFactory.create(account=account, bucket=day, state="shadow")
    return account


def send(client: Client, address: str = FORM, **fields: Any) -> Any:
    given = {"shadow": "keep", "bill_from": "keep", "reason": "agreed with finance"} | fields
    return client.post(address, given, follow=True)


def errors(answer: Any) -> dict[str, list[str]]:
    assert answer.status_code == 422
    found: dict[str, list[str]] = answer.context["form"].errors
    return found


def states() -> list[str]:
    return list(MeterEvent.objects.order_by("bucket").values_list("state", flat=True))


def test_both_switches_arm_exactly_what_lies_after_the_day(client, account):
    answer = send(
        client, accounts=f"{account.pk}", shadow="off", bill_from="date", bill_from_date="2026-10-05"
    )
    assert answer.redirect_chain == [(LIST, 302)]
    assert "1 accounts: 2 meter events armed, 0 back in shadow" in answer.content.decode()
    assert states() == ["shadow", "pending", "pending"]
    entry = AuditEntry.objects.get(action="metering.seam_set")
    assert (entry.actor, entry.reason, entry.subject_id) == ("ops", "agreed with finance", str(account.pk))
    assert entry.after == {"shadow": False, "bill_from": "2026-10-05T00:00:00+00:00"}


def test_the_other_order_gives_the_same(client, account):
    send(client, accounts=f"{account.pk}", shadow="off")
    assert states() == ["pending"] * 3
    send(client, accounts=f"{account.pk}", bill_from="date", bill_from_date="2026-10-05")
    assert states() == ["shadow", "pending", "pending"]


def test_back_to_the_default_keeps_the_history(client, account):
    send(client, accounts=f"{account.pk}", shadow="off")
    answer = send(client, accounts=f"{account.pk}", shadow="default", reason="was a mistake")
    assert "1 accounts: 0 meter events armed, 3 back in shadow" in answer.content.decode()
    assert not SeamSetting.objects.exists()
    entry = AuditEntry.objects.get(action="metering.seam_reset")
    assert (entry.before, entry.after) == ({"shadow": False, "bill_from": None}, {})
    assert entry.reason == "was a mistake"


@pytest.mark.parametrize(
    ("fields", "field", "message"),
    [
        ({}, "__all__", "Nothing to change"),
        ({"shadow": "off", "reason": ""}, "reason", "required"),
        ({"shadow": "off", "reason": "   "}, "reason", "required"),
        ({"shadow": "off", "accounts": "5001; DROP"}, "accounts", "'5001;' is not an account id"),
        ({"shadow": "off", "accounts": "\u0665\u0665"}, "accounts", "is not an account id"),
        ({"shadow": "off", "accounts": "999999"}, "accounts", "there is no account 999999"),
        ({"shadow": "off", "accounts": " ".join(["1"] * 501)}, "accounts", "At most 500"),
        ({"shadow": "perhaps"}, "shadow", "Select a valid choice"),
        ({"bill_from": "date"}, "bill_from_date", "Give the first day"),
        ({"bill_from": "date", "bill_from_date": "2026-02-30"}, "bill_from_date", "valid date"),
        ({"shadow": "default", "bill_from": "start"}, "bill_from", "leave this as it is"),
    ],
)
def test_a_refusal_names_its_field_and_changes_nothing(client, account, fields, field, message):
    answer = send(client, **({"accounts": f"{account.pk}"} | fields))
    found = errors(answer)
    assert list(found) == [field]
    assert message in found[field][0]
    assert "Nothing was changed" in answer.content.decode()
    assert not SeamSetting.objects.exists()
    assert states() == ["shadow"] * 3


def test_a_day_inside_a_month_that_is_told_in_one_figure_is_refused_at_its_field(client, account):
    UsageFeed.objects.create(account=account, period="2026-10", granularity="month")
    answer = send(client, accounts=f"{account.pk}", bill_from="date", bill_from_date="2026-10-05")
    assert "must be 2026-10-01 or 2026-11-01" in errors(answer)["bill_from_date"][0]
    assert not SeamSetting.objects.exists()


@pytest.mark.parametrize(("role", "status"), [("finance", 403), ("engineer", 200), ("ops", 200)])
def test_who_may(role, status):
    cohort = make_cohort(reconciled=False)
    client = log_in(role)
    assert client.get(FORM).status_code == status
    assert client.get(f"/admin/cohorts/cohort/{cohort.pk}/seam/").status_code == status
    page = client.get(f"/admin/cohorts/cohort/{cohort.pk}/change/").content.decode()
    assert ("Change the seam" in page) is (status == 200)
    if status == 403:
        assert send(client, accounts="1", shadow="off").status_code == 403


def test_a_cohort_stands_for_its_members_and_takes_no_others(client):
    cohort = make_cohort(reconciled=False)
    outsider = CustomerAccountFactory.create()
    address = f"/admin/cohorts/cohort/{cohort.pk}/seam/"
    assert "Of 2 accounts 0 have one" in client.get(address).content.decode()
    answer = send(client, address, accounts=f"{outsider.pk}", shadow="off")
    assert answer.redirect_chain == [(f"/admin/cohorts/cohort/{cohort.pk}/change/", 302)]
    members = set(cohort.members.values_list("account_id", flat=True))
    assert set(SeamSetting.objects.values_list("account_id", flat=True)) == members
    assert "Of 2 accounts 2 have one; 2 of those are out of shadow" in client.get(address).content.decode()


def test_the_list_leads_to_the_form_with_the_chosen_accounts(client, account):
    send(client, accounts=f"{account.pk}", shadow="on")
    answer = client.post(
        LIST, {"action": "change_selected", "_selected_action": [SeamSetting.objects.get().pk]}, follow=True
    )
    assert answer.redirect_chain == [(f"{FORM}?accounts={account.pk}", 302)]
    assert answer.context["form"].initial == {"accounts": f"{account.pk}"}
