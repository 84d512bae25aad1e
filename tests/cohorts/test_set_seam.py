"""`set_seam`: for accounts or a cohort, in one line; a refusal is one line and exit code 2."""

from __future__ import annotations

import io

import pytest
from django.core.management import CommandError, call_command

from billing_worker.accounts.models import AuditEntry
from cohorts.models import Cohort
from metering.models import SeamSetting
from tests.cohorts.factories import CREATED, make_cohort
from tests.factories import NOW, AccountFactory
from tests.metering.factories import MeterEventFactory

pytestmark = [
    pytest.mark.django_db(databases=["default", "legacy"]),
    pytest.mark.usefixtures("legacy_tables"),
]


def run(*arguments: str) -> str:
    out = io.StringIO()
    call_command("set_seam", *arguments, "--reason", "seam of October", stdout=out)
    return out.getvalue().strip()


def refuse(*arguments: str) -> str:
    with pytest.raises(CommandError) as refusal:
        run(*arguments)
    assert refusal.value.returncode == 2
    assert "\n" not in str(refusal.value)
    return str(refusal.value)


def test_a_cohort_stands_for_its_members():
    cohort = make_cohort(reconciled=False)
    outsider = AccountFactory.create()
    members = [member.account for member in cohort.members.order_by("account_id")]
    MeterEventFactory.create(account=members[0], bucket="2026-10-04", state="shadow")
    MeterEventFactory.create(account=members[0], bucket="2026-10-05", state="shadow")

    said = run("--cohort", cohort.name, "--shadow", "off", "--bill-from", "2026-10-05")

    assert said == "2 accounts: 1 meter events armed, 0 back in shadow"
    rows = SeamSetting.objects.order_by("account_id")
    assert [(row.account_id, row.shadow) for row in rows] == [(member.pk, False) for member in members]
    assert not SeamSetting.objects.filter(account=outsider).exists()
    entries = AuditEntry.objects.filter(action="metering.seam_set")
    assert {entry.actor for entry in entries} == {"command:set_seam"}
    assert entries.count() == 2

    assert run("--cohort", cohort.name, "--shadow", "on").endswith("0 meter events armed, 1 back in shadow")
    assert {str(row.bill_from) for row in rows.all()} == {"2026-10-05 00:00:00+00:00"}
    run("--accounts", f"{members[0].pk}", "--bill-from", "start")
    assert SeamSetting.objects.get(account=members[0]).bill_from is None


def test_what_went_out_before_is_told():
    account = AccountFactory.create(stripe_customer_id="cus_9")
    MeterEventFactory.create(account=account, state="pending", attempts=2, uncertain_at=NOW)

    assert run("--accounts", str(account.pk), "--shadow", "on").endswith("1 had gone out before and stay so")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--accounts", "1"], "nothing to change"),
        (["--accounts", "one", "--shadow", "on"], "takes account ids, not one"),
        (["--accounts", ",", "--shadow", "on"], "takes account ids, not nothing"),
        (["--accounts", "9" * 40, "--shadow", "on"], "takes account ids"),
        (["--accounts", "77", "--shadow", "on"], "there is no account 77"),
        (["--accounts", "77", "--bill-from", "2026-10-05T01:00:00Z"], "must lie on a bucket bound"),
        (["--accounts", "77", "--bill-from", "soon"], "neither a day"),
        (["--cohort", "nobody", "--shadow", "on"], "there is no cohort 'nobody'"),
        (["--cohort", "empty", "--shadow", "on"], "cohort empty has no members"),
    ],
)
def test_a_refusal_is_one_line(arguments, message):
    Cohort.objects.create(name="empty", state="draft", created_at=CREATED)

    assert message in refuse(*arguments)
    assert not SeamSetting.objects.exists()


def test_back_to_the_environments_default():
    account = AccountFactory.create()
    run("--accounts", f"{account.pk}", "--shadow", "off")
    assert run("--accounts", f"{account.pk}", "--default").startswith("1 accounts: 0 meter events armed")
    assert not SeamSetting.objects.exists()
    assert AuditEntry.objects.get(action="metering.seam_reset").reason == "seam of October"
    assert "leave --shadow and --bill-from out" in refuse(
        "--accounts", f"{account.pk}", "--default", "--shadow", "on"
    )
