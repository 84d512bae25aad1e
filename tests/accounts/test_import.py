"""The import brings accounts over exactly, skips what can't be billed, and never changes history silently."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from django.core.management import CommandError, call_command

from billing_worker.accounts.models import Account, AccountPlan, AccountTier, AuditEntry, ManagedJob
from billing_worker.accounts.services import ImportReport, import_accounts, link_customer
from billing_worker.legacy.models import LegacyAccount, LegacyManagedJob, LegacyPlanSub, LegacyPlanUsage
from billing_worker.legacy.selectors import get_customers
from invoices.models import ManagedCharge
from invoices.states import ChargeState
from tests.factories import NOW
from tests.legacy.tables import add_account, add_fee, add_job, add_tiers

pytestmark = [
    pytest.mark.django_db(databases=["default", "legacy"]),
    pytest.mark.usefixtures("legacy_tables"),
]
LATER = NOW + timedelta(days=1)


def run_import(now: datetime = NOW, *, dry_run: bool = False) -> ImportReport:
    return import_accounts(customers=get_customers(), actor="test", now=now, dry_run=dry_run)


def describe_problems(report: ImportReport) -> list[str]:
    return [str(problem) for problem in report.problems]


def test_amounts_become_minor_units_exactly_and_bounds_inclusive():
    add_account(1001, billing_cc="a@example.com; b@example.com", address_country="us")
    add_fee(1001, "499.90")
    add_tiers(1001, "ST", (0, 100_000, "0"), (100_000, None, "2.505001"))
    add_account(1002, currency="JPY")
    add_fee(1002, "48000.00")
    add_tiers(1002, "CV", (0, None, "12.345678"))
    add_job(7, 1002, "150000.00")
    add_job(8, 1001, "1250.55")

    report = run_import()

    assert (report.created, report.problems) == ([1001, 1002], [])
    account = Account.objects.get(pk=1001)
    assert (account.currency, account.address_country) == ("usd", "US")
    assert account.billing_cc == "a@example.com, b@example.com"
    assert account.opened_at == datetime(2020, 1, 1, 9, 30, tzinfo=UTC)
    assert account.plans.get().unit_amount_decimal == Decimal(49990)
    free, paid = account.tiers.all()
    assert (free.tier_from, free.tier_to, free.unit_amount_decimal) == (0, 100_000, Decimal(0))
    assert (paid.tier_from, paid.tier_to, paid.unit_amount_decimal) == (100_000, None, Decimal("0.2505001"))
    yen = Account.objects.get(pk=1002)
    assert yen.plans.get().unit_amount_decimal == Decimal(48000)
    assert yen.tiers.get().unit_amount_decimal == Decimal("0.012345678")
    assert [job.amount_minor for job in ManagedJob.objects.all()] == [150_000, 125_055]


def test_a_second_run_confirms_everything_and_changes_nothing():
    add_account(1001)
    add_fee(1001, "499.00")
    add_tiers(1001, "ST", (0, None, "2.5"))
    add_job(7, 1001, "10.00")
    run_import()
    rows = list(AccountPlan.objects.values()), list(AccountTier.objects.values())

    report = run_import(LATER)

    assert (report.created, report.changed, report.unchanged) == ([], [], [1001])
    assert (list(AccountPlan.objects.values()), list(AccountTier.objects.values())) == rows
    assert Account.objects.get(pk=1001).imported_at == LATER
    assert AuditEntry.objects.count() == 0


def test_a_changed_plan_is_written_down_with_what_it_was():
    add_account(1001)
    fee = add_fee(1001, "499.00")
    run_import()
    LegacyPlanSub.objects.using("legacy").filter(pk=fee.pk).update(effective_to=date(2026, 10, 15))
    add_fee(1001, "599.00", start=date(2026, 10, 15))

    report = run_import(LATER)

    assert report.changed == [1001]
    assert [plan.unit_amount_decimal for plan in AccountPlan.objects.all()] == [49900, 59900]
    entry = AuditEntry.objects.get()
    assert (entry.action, entry.subject_id, entry.actor, entry.at) == (
        "account.terms_changed",
        "1001",
        "test",
        LATER,
    )
    old = {
        "effective_from": "2020-01-01",
        "plan_name": "Essential",
        "unit_amount_decimal": "49900",
        "effective_to": None,
    }
    assert entry.before == {"plans": [old]}
    assert entry.after["plans"][0] == {**old, "effective_to": "2026-10-15"}
    assert entry.after["plans"][1]["unit_amount_decimal"] == "59900"


def test_a_deleted_tier_table_is_deleted_here_and_written_down():
    add_account(1001)
    add_tiers(1001, "RM", (0, None, "1.5"))
    run_import()
    LegacyPlanUsage.objects.using("legacy").all().delete()

    run_import(LATER)

    assert not AccountTier.objects.exists()
    assert AuditEntry.objects.get().before["tiers"][0]["unit_amount_decimal"] == "0.15"


def test_a_changed_address_is_audited_field_by_field():
    add_account(1001)
    run_import()
    LegacyAccount.objects.using("legacy").update(billing_email="new@example.com")

    run_import(LATER)

    entry = AuditEntry.objects.get()
    assert (entry.action, entry.before) == ("account.changed", {"billing_email": "billing-1001@example.com"})
    assert entry.after == {"billing_email": "new@example.com"}


def test_a_job_that_was_billed_there_is_billed_here():
    add_account(1001)
    add_job(7, 1001, "10.00")
    run_import()
    LegacyManagedJob.objects.using("legacy").update(status="billed")

    assert run_import(LATER).changed == [1001]
    assert ManagedJob.objects.get().status == "billed"


def test_closing_takes_the_day_the_plans_end_or_else_the_day_it_was_first_seen():
    add_account(1001, status="closed")
    add_fee(1001, "79.00", end=date(2026, 7, 20))
    add_account(1002)
    add_fee(1002, "79.00")
    run_import()
    LegacyAccount.objects.using("legacy").update(status="closed")

    report = run_import(LATER)
    run_import(LATER + timedelta(days=40))

    assert (report.closed, report.unchanged) == ([1002], [1001])
    assert Account.objects.get(pk=1001).closed_at == datetime(2026, 7, 20, tzinfo=UTC)
    assert Account.objects.get(pk=1002).closed_at == LATER


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda: add_account(1001, currency="XXX"), "currency 'XXX' is not one that can be billed"),
        (lambda: add_account(1001, currency="KWD"), "currency 'KWD' is not one that can be billed"),
        (lambda: add_account(1001, status="frozen"), "status 'frozen' is none of active, suspended, closed"),
        (lambda: add_account(1001, name=" "), "name is empty"),
        (lambda: add_account(1001, billing_email="nobody"), "'nobody' is not an e-mail address"),
        (
            lambda: add_account(1001, address_country="U1"),
            "address_country 'U1' is not a two-letter country code",
        ),
        (lambda: add_account(1001, parent_acct_id=999), "its parent 999 does not exist"),
        (lambda: add_account(1001, parent_acct_id=1001), "its parent 1001 leads back to itself"),
        (
            lambda: (add_account(1001), add_fee(1001, "1.00"), add_fee(1001, "2.00", start=date(2026, 1, 1))),
            "plan rows 1, 2 overlap on 2026-01-01",
        ),
        (
            lambda: (add_account(1001), add_fee(1001, "1.00", date(2026, 1, 1), date(2026, 1, 1))),
            "plan row 1: effective_to 2026-01-01 is not after 2026-01-01",
        ),
        (lambda: (add_account(1001), add_fee(1001, "-1.00")), "plan row 1: sub_rate -1.00 is negative"),
        (
            lambda: (add_account(1001, currency="JPY"), add_fee(1001, "10.50")),
            "plan row 1: 10.50 JPY is not a whole number of minor units",
        ),
        (
            lambda: (add_account(1001), add_tiers(1001, "ST", (0, 100, "1"), (200, None, "1"))),
            "ST tiers in force on 2020-01-01: gap or overlap at 200 (row 2), expected 100",
        ),
        (
            lambda: (add_account(1001), add_tiers(1001, "ST", (0, 100, "1"), (50, None, "1"))),
            "ST tiers in force on 2020-01-01: gap or overlap at 50 (row 2), expected 100",
        ),
        (
            lambda: (add_account(1001), add_tiers(1001, "ST", (0, 100, "1"))),
            "ST tiers in force on 2020-01-01: the last tier must have no upper bound",
        ),
        (
            lambda: (add_account(1001), add_tiers(1001, "ST", (0, None, "-1"))),
            "ST tiers in force on 2020-01-01: a tier's unit amount must not be negative",
        ),
        (
            lambda: (add_account(1001), add_tiers(1001, "XX", (0, None, "1"))),
            "tier row 1: usage_type 'XX' is none of ST, RM, CV",
        ),
        (
            lambda: (add_account(1001), add_job(7, 1001, "1.00", completed_at=None)),
            "job 7: done without completed_at",
        ),
    ],
)
def test_a_bad_account_is_skipped_with_its_reason_and_the_others_are_imported(spoil, reason):
    spoil()
    add_account(1000)

    report = run_import()

    assert describe_problems(report) == [f"account 1001: {reason}"]
    assert [account.pk for account in Account.objects.all()] == [1000]


def test_a_bad_account_keeps_the_row_and_terms_it_had():
    add_account(1001)
    add_tiers(1001, "ST", (0, None, "2.5"))
    run_import()
    LegacyAccount.objects.using("legacy").update(name="Renamed Ltd")
    add_tiers(1001, "ST", (500, None, "1"))

    report = run_import(LATER)

    assert describe_problems(report) == [
        "account 1001: ST tiers in force on 2020-01-01: gap or overlap at 500 (row 2), expected None"
    ]
    account = Account.objects.get()
    assert (account.name, account.imported_at) == ("Example 1001 Ltd", NOW)
    assert account.tiers.get().unit_amount_decimal == Decimal("0.25")


def test_children_come_after_their_parents_whatever_the_ids():
    add_account(1001, parent_acct_id=1003)
    add_account(1002, parent_acct_id=1001)
    add_account(1003)

    report = run_import()

    assert report.created == [1003, 1001, 1002]
    assert Account.objects.get(pk=1002).parent_id == 1001


def test_a_child_of_a_bad_parent_is_not_imported_either():
    add_account(1001, currency="XXX")
    add_account(1002, parent_acct_id=1001)

    assert describe_problems(run_import()) == [
        "account 1001: currency 'XXX' is not one that can be billed",
        "account 1002: its parent 1001 was not imported",
    ]


def test_a_child_must_share_the_currency_of_the_parent_it_bills_through():
    add_account(1001)
    add_account(1002, parent_acct_id=1001, currency="EUR")
    add_account(1003, parent_acct_id=1001, currency="EUR", stripe_customer_id="cus_own")

    report = run_import()

    assert describe_problems(report) == ["account 1002: it bills through 1001, which has the currency usd"]
    assert report.created == [1001, 1003]


def test_a_customer_that_we_linked_stays_when_the_old_service_knows_none():
    add_account(1001)
    run_import()
    link_customer(account_id=1001, stripe_customer_id="cus_ours", now=NOW)

    assert run_import(LATER).unchanged == [1001]
    assert Account.objects.get().stripe_customer_id == "cus_ours"


def test_another_customer_there_than_here_is_reported_and_nothing_is_changed():
    add_account(1001)
    run_import()
    link_customer(account_id=1001, stripe_customer_id="cus_ours", now=NOW)
    LegacyAccount.objects.using("legacy").update(stripe_customer_id="cus_theirs", name="Renamed Ltd")

    (problem,) = describe_problems(run_import(LATER))
    assert problem.startswith("account 1001: the old service says customer cus_theirs, here it is cus_ours")
    assert Account.objects.get().name == "Example 1001 Ltd"


def test_a_customer_shared_by_two_accounts_is_reported_for_both():
    add_account(1001, stripe_customer_id="cus_1")
    add_account(1002, stripe_customer_id="cus_1")

    assert describe_problems(run_import()) == [
        "account 1001: customer cus_1 belongs to accounts [1001, 1002]",
        "account 1002: customer cus_1 belongs to accounts [1001, 1002]",
    ]


def test_an_account_that_vanished_is_kept_and_reported():
    add_account(1001)
    run_import()
    LegacyAccount.objects.using("legacy").all().delete()

    assert describe_problems(run_import(LATER)) == [
        "account 1001: is no longer in the legacy database; kept as it was"
    ]
    assert Account.objects.count() == 1


def test_a_dry_run_reports_the_same_and_keeps_nothing():
    add_account(1001)

    assert run_import(dry_run=True).created == [1001]
    assert not Account.objects.exists()


def test_the_command_tells_what_it_did_and_fails_for_skipped_accounts(capsys):
    add_account(1001)
    call_command("import_accounts")
    assert capsys.readouterr().out == "1 created, 0 changed, 0 unchanged, 0 closed\n"

    add_account(1002, currency="XXX")
    with pytest.raises(CommandError, match=r"1 account\(s\) were not imported") as refused:
        call_command("import_accounts")
    assert refused.value.returncode == 1
    assert "account 1002: currency 'XXX'" in capsys.readouterr().err


def charge(job_id: int) -> None:
    """Stripe bills the job: its record must stay."""
    job = ManagedJob.objects.get(pk=job_id)
    ManagedCharge.objects.create(
        job=job, payer=job.account, customer="cus_1", period="2026-10", amount_minor=job.amount_minor,
        currency=job.currency, description=job.title, completed_at=NOW, state=ChargeState.PENDING,
    )  # fmt: skip


def test_an_account_whose_billed_job_is_gone_is_reported_and_the_others_are_imported():
    add_account(1001)
    add_account(1002)
    add_job(7, 1001, "10.00")
    run_import()
    charge(7)
    LegacyManagedJob.objects.using("legacy").filter(pk=7).delete()
    LegacyAccount.objects.using("legacy").update(name="New name")

    report = run_import(LATER)

    assert describe_problems(report) == [
        "account 1001: job 7 is gone there, but Stripe bills it: kept as it was"
    ]
    assert report.changed == [1002]
    assert Account.objects.get(pk=1001).name == "Example 1001 Ltd"


def test_a_job_that_moved_to_another_account_moves_when_it_is_free():
    add_account(1001)
    add_account(1002)
    add_job(7, 1002, "10.00")
    run_import()
    LegacyManagedJob.objects.using("legacy").filter(pk=7).update(acct_id=1001)

    report = run_import(LATER)
    assert describe_problems(report) == ["account 1001: job 7 is account 1002's here: run the import again"]
    assert report.changed == [1002]

    assert run_import(LATER).changed == [1001]
    assert ManagedJob.objects.get(pk=7).account_id == 1001


def test_a_customer_that_another_account_has_here_is_reported_and_the_others_are_imported():
    add_account(1001)
    add_account(1002)
    run_import()
    link_customer(account_id=1002, stripe_customer_id="cus_9", now=NOW)
    LegacyAccount.objects.using("legacy").filter(pk=1001).update(stripe_customer_id="cus_9")
    LegacyAccount.objects.using("legacy").update(name="New name")

    report = run_import(LATER)

    assert describe_problems(report) == ["account 1001: customer cus_9 is account 1002's here"]
    assert report.changed == [1002]


def test_what_a_customer_at_stripe_follows_is_kicked_and_nothing_else(monkeypatch):
    kicks: list[tuple[object, ...]] = []
    monkeypatch.setattr("billing_worker.accounts.customers.kick", lambda *args: kicks.append(args))
    for account_id in (1001, 1002):
        add_account(account_id)
        add_fee(account_id, "499.00")
    run_import()
    link_customer(account_id=1001, stripe_customer_id="cus_1", now=NOW)
    LegacyPlanSub.objects.using("legacy").update(sub_rate=Decimal("599.00"))
    LegacyAccount.objects.using("legacy").update(billing_cc="x@example.com")
    run_import(LATER)
    assert kicks == []
    LegacyAccount.objects.using("legacy").update(billing_email="neu@example.com")
    run_import(LATER)
    assert kicks == [("customers.sync_account", 1001)], "the other one has no customer"
