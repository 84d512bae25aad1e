"""`sync_customers`: who is followed, and what the command says."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from django.core.management import CommandError, call_command

from billing_worker.accounts.models import Account
from billing_worker.catalog.services import apply_catalog
from billing_worker.core.periods import Period
from billing_worker.customers.models import CustomerSync
from billing_worker.gateway.transport import call, make_path
from cohorts.models import CohortMember
from cohorts.services import ProvisioningOptions, create_cohort, provision_cohort, sync_customers
from cohorts.tasks import sync_customers as task
from tests.customers.world import GERMAN, change, edit_at_stripe, look
from tests.factories import NOW, AccountFactory, AccountPlanFactory, CustomerAccountFactory

pytestmark = pytest.mark.django_db


@pytest.fixture
def payer(stripe) -> Account:
    """A German payer with a child, provisioned; and an account beside them that the old service made a customer for."""
    payer = AccountFactory.create(id=5001, **GERMAN)
    child = AccountFactory.create(id=5002, parent=payer)
    for account in (payer, child):
        AccountPlanFactory.create(account=account)
    CustomerAccountFactory.create(id=5003)
    apply_catalog(at=NOW.date())
    cohort = create_cohort(name="c", account_ids=[5001, 5002], actor="test", now=NOW)
    options = ProvisioningOptions(use_test_clocks=True, test_payment_method="pm_card_visa")
    provision_cohort(cohort_id=cohort.pk, period=Period(2026, 10), options=options, actor="test", now=NOW)
    payer.refresh_from_db()
    return payer


def run(capsys, *arguments: str) -> list[str]:
    call_command("sync_customers", *arguments)
    said: str = capsys.readouterr().out
    return said.splitlines()


def test_provisioned_payers_are_followed_from_the_start(payer):
    row = CustomerSync.objects.get()
    assert (row.account, row.written["name"]) == (payer, ["Beispiel GmbH", "Beispiel GmbH"])
    assert look(payer).tax_ids[0].value == "DE123456789"
    assert task() == {"unchanged": 1}
    assert task() == {}, "nothing was heard of it since"


def test_members_that_were_provisioned_before_are_followed_and_never_overwritten(payer):
    CustomerSync.objects.all().delete()
    CohortMember.objects.filter(account_id=5002).update(provisioning="customer", provisioned_at=None)
    edit_at_stripe(payer, name="Somebody at Stripe")
    change(payer, billing_email="neu@example.com")
    (result,) = sync_customers(actor="test", now=NOW)
    assert (result.account_id, result.outcome) == (5001, "differs")
    assert (look(payer).name, look(payer).email) == ("Somebody at Stripe", "rechnung@example.com")
    (result,) = sync_customers(actor="test", now=NOW, overwrite=["name", "email"])
    assert (look(payer).name, look(payer).email) == ("Beispiel GmbH", "neu@example.com")


def test_the_command_tells_writes_and_refuses(payer, capsys):
    change(payer, locale="fr_CH")
    CustomerSync.objects.all().delete()
    planned = run(capsys, "--dry-run")
    assert planned == [
        "account 5001: differs: language: ours fr-CH, fr, Stripe's de-DE, de (changed at Stripe)",
        "0 changed, 1 differs, 0 unchanged",
    ]
    assert not CustomerSync.objects.exists(), "a dry run keeps nothing"
    assert run(capsys, "--dry-run", "--overwrite", "preferred_locales") == [
        "account 5001: planned: language: ours fr-CH, fr, Stripe's de-DE, de (to be written)",
        "0 changed, 1 planned, 0 unchanged",
    ]
    assert look(payer).preferred_locales == ("de-DE", "de")
    assert run(capsys, "--overwrite", "preferred_locales", "--account", "5001") == [
        "account 5001: changed: language fr-CH, fr (was de-DE, de)",
        "1 changed, 0 unchanged",
    ]
    assert look(payer).preferred_locales == ("fr-CH", "fr")
    assert run(capsys, "--cohort", "c") == ["0 changed, 1 unchanged"]
    assert run(capsys, "--account", "5002", "--account", "5003", "--due", "--account", "5001") == [
        "account 5002 bills through 5001: it has no customer of its own",
        "account 5003 is not provisioned: its customer, if it has one, is left alone",
        "account 5001 has not changed since its customer was looked at",
        "0 changed, 0 unchanged",
    ]
    with pytest.raises(CommandError) as unknown:
        call_command("sync_customers", "--account", "1")
    assert unknown.value.returncode == 2

    change(payer, tax_id_value="DE1", billing_email="neu@example.com")
    with pytest.raises(CommandError) as refused:
        call_command("sync_customers")
    assert refused.value.returncode == 2
    assert (
        "tax id: ours eu_vat DE1, Stripe's eu_vat DE123456789 (refused by Stripe)" in capsys.readouterr().out
    )
    assert look(payer).email == "neu@example.com"


def test_a_customer_of_the_old_service_is_taken_over_with_what_it_has(payer, stripe):
    """Known before the move: what it lacks is filled in, what somebody wrote at Stripe is asked about."""
    made = call(
        "post", make_path("customers"), {"name": "As the bank knows it", "email": "billing-5004@example.com"}
    )
    account = AccountFactory.create(
        id=5004, stripe_customer_id=made["id"], **GERMAN | {"billing_email": "b@example.com"}
    )
    AccountPlanFactory.create(account=account)
    cohort = create_cohort(name="d", account_ids=[5004], actor="test", now=NOW)
    assert {one.account_id for one in sync_customers(actor="test", now=NOW)} == {5001}
    options = ProvisioningOptions(test_payment_method="pm_card_visa")
    provision_cohort(
        cohort_id=cohort.pk, period=Period(2026, 10), options=options, actor="test",
        now=datetime(2026, 10, 1, tzinfo=UTC),
    )  # fmt: skip
    results = {one.account_id: one.outcome for one in sync_customers(actor="test", now=NOW)}
    assert results == {5001: "unchanged", 5004: "differs"}
    there = look(account)
    assert (there.name, there.email) == ("As the bank knows it", "billing-5004@example.com")
    assert there.metadata == {"account_id": "5004"}
    assert there.address is not None
    assert (there.address.city, there.tax_ids[0].value) == ("Berlin", "DE123456789")
