"""Customers follow their accounts, against the stand-in for Stripe."""

from __future__ import annotations

import pytest

from billing_worker import gateway
from billing_worker.accounts.models import AuditEntry
from billing_worker.alerts.models import Alert
from billing_worker.customers.models import CustomerSync
from billing_worker.customers.services import decide_difference, outcome, sync_customers, syncing
from billing_worker.customers.services.following import NoSuchDifference
from tests.customers.world import (
    add_at_stripe,
    change,
    edit_at_stripe,
    forget_claims,
    get_row,
    list_values,
    look,
    provision,
    sync,
)
from tests.factories import NOW, AccountFactory, CustomerAccountFactory

pytestmark = pytest.mark.django_db

NEW_VAT = {"tax_id_type": "eu_vat", "tax_id_value": "ATU12345678"}


def list_alerts() -> dict[str, str]:
    return dict(Alert.objects.filter(status="open").values_list("name", "detail"))


@pytest.fixture
def account(stripe):
    return provision()


def test_what_was_provisioned_is_in_step(account):
    assert sync(account).outcome == "unchanged"
    row = get_row(account)
    assert (row.state, row.synced_at, row.claim_token) == ("synced", NOW, "")
    assert row.written["tax_id"][0] == {"type": "eu_vat", "value": "DE123456789"}


def test_every_field_follows_and_only_those(account, stripe):
    edit_at_stripe(
        account, phone="+49 30 000", description="Key account", tax_exempt="reverse", balance=-500,
        metadata={"crm": "77"}, invoice_settings={"footer": "Danke"}, invoice_prefix="BSP",
    )  # fmt: skip
    add_at_stripe(account, "us_ein", "12-3456789")
    change(
        account, name="Neu GmbH", billing_email="neu@example.com", locale="fr_CH", address_line1="",
        address_city="Bern", address_postal_code="3000", address_country="CH", **NEW_VAT,
    )  # fmt: skip
    before = {event["id"] for event in gateway.list_events(created_from=NOW)}
    result = sync(account)
    assert result.outcome == "changed"
    assert "e-mail neu@example.com (was rechnung@example.com)" in result.detail
    there = look(account)
    assert (there.name, there.email, there.preferred_locales) == (
        "Neu GmbH",
        "neu@example.com",
        ("fr-CH", "fr"),
    )
    assert there.address == gateway.Address(city="Bern", postal_code="3000", country="CH")
    assert list_values(account) == ["12-3456789", "ATU12345678"], "the other kind is somebody else's"
    raw = gateway.read_payload(kind="customer", id=there.id)
    kept = (raw["phone"], raw["description"], raw["tax_exempt"], raw["balance"], raw["invoice_prefix"])
    assert kept == ("+49 30 000", "Key account", "reverse", -500, "BSP")
    assert raw["metadata"] == {"crm": "77", "account_id": str(account.pk)}
    assert raw["invoice_settings"]["footer"] == "Danke"
    told = [event["type"] for event in gateway.list_events(created_from=NOW) if event["id"] not in before]
    assert sorted(told) == [
        "customer.tax_id.created", "customer.tax_id.deleted", "customer.tax_id.updated", "customer.updated",
    ]  # fmt: skip
    assert told.index("customer.tax_id.deleted") < told.index("customer.tax_id.created"), "newest first"
    entries = AuditEntry.objects.filter(action="customer.written", subject_id=str(account.pk))
    assert entries.count() == 3
    assert [entry.before.get("name") for entry in entries][-1] == "Beispiel GmbH"
    assert sync(account).outcome == "unchanged"
    assert get_row(account).state == "synced"


def test_an_address_loses_lines_even_where_stripe_keeps_them(account, monkeypatch):
    """Whether Stripe merges the lines of an address is not documented: here it does."""
    original = gateway.transport.call

    def merge(method, path, params=None, **options):
        address = (params or {}).get("address")
        if method == "post" and address:
            stood = original("get", path)["address"] or {}
            merged = {name: line for name, line in {**stood, **address}.items() if line}
            params = {**params, "address": merged}
        return original(method, path, params, **options)

    monkeypatch.setattr("billing_worker.gateway.customers.call", merge)
    change(account, address_line1="", address_postal_code="10999")
    assert sync(account).outcome == "changed"
    assert look(account).address == gateway.Address(postal_code="10999", city="Berlin", country="DE")
    assert sync(account).outcome == "unchanged"


def test_what_we_wrote_is_emptied_with_its_account(account):
    change(account, tax_id_type="", tax_id_value="")
    change(
        account,
        **dict.fromkeys(("address_line1", "address_city", "address_postal_code", "address_country"), ""),
    )
    assert sync(account).outcome == "changed"
    there = look(account)
    assert (there.address, there.tax_ids) == (None, ())
    assert there.preferred_locales == ("en-US", "en")
    assert sync(account).outcome == "unchanged"
    change(account, billing_email="")
    assert sync(account, overwrite=("email",)).outcome == "differs", "Stripe can't empty it: a person has to"
    assert look(account).email == "rechnung@example.com"


def test_a_person_s_change_at_stripe_stands_until_somebody_decides(account):
    edit_at_stripe(account, email="portal@example.com")
    change(account, locale="en_GB")
    assert sync(account).outcome == "differs"
    there = look(account)
    assert (there.email, there.preferred_locales) == ("portal@example.com", ("en-GB", "en"))
    assert get_row(account).state == "differs"
    assert list_alerts() == {
        "customer_changed_at_stripe": "e-mail: ours rechnung@example.com, Stripe's portal@example.com"
    }

    decision = {"account_id": account.pk, "actor": "ada", "reason": "they said so", "now": NOW}
    decide_difference(field="email", side="theirs", **decision)
    assert sync(account).outcome == "unchanged"
    assert list_alerts() == {}
    assert look(account).email == "portal@example.com"

    change(account, billing_email="new@example.com")
    assert sync(account).outcome == "differs", "a new value of ours is a new question"
    decide_difference(field="email", side="ours", **decision)
    assert sync(account, overwrite=("email",)).outcome == "changed"
    assert look(account).email == "new@example.com"
    assert list_alerts() == {}
    with pytest.raises(NoSuchDifference):
        decide_difference(field="email", side="ours", **decision)
    actions = AuditEntry.objects.filter(action__startswith="customer.").values_list("action", flat=True)
    assert set(actions) == {"customer.written", "customer.theirs_decided", "customer.ours_decided"}


def test_a_tax_id_that_was_exchanged_or_deleted_at_stripe_is_not_brought_back(account):
    (old,) = look(account).tax_ids
    gateway.delete_tax_id(account.stripe_customer_id, old.id)
    assert sync(account).outcome == "differs"
    add_at_stripe(account, "eu_vat", "FRAB123456789")
    assert sync(account).outcome == "differs"
    assert list_values(account) == ["FRAB123456789"]
    assert sync(account, overwrite=("tax_id",)).outcome == "changed"
    assert list_values(account) == ["DE123456789"]


def test_one_value_twice_does_not_stay(account):
    add_at_stripe(account, "eu_vat", "DE 123 456 789")
    assert sync(account).outcome == "changed"
    assert list_values(account) == ["DE123456789"]


def test_what_stripe_refuses_is_told_by_field_and_the_rest_is_written(account):
    change(account, tax_id_value="DE12", billing_email="b@example.com", locale="de_AT")
    result = sync(account)
    assert result.outcome == "refused"
    assert (look(account).email, look(account).preferred_locales) == ("b@example.com", ("de-AT", "de"))
    assert list_values(account) == ["DE123456789"], "what is refused replaces nothing"
    row = get_row(account)
    assert (row.state, row.refused["tax_id"]["reason"]) == ("refused", "Invalid value for eu_vat.")
    assert list_alerts() == {"customer_field_refused": "tax id eu_vat DE12: Invalid value for eu_vat."}
    number = row.tax_id_number
    assert sync(account).outcome == "refused"
    assert get_row(account).tax_id_number == number, "it is not asked for again"
    assert sync(account, asks_again=True).outcome == "refused"
    assert get_row(account).tax_id_number == number + 1
    change(account, tax_id_value="DE987654321")
    assert sync(account).outcome == "changed"
    assert list_values(account) == ["DE987654321"]
    assert (list_alerts(), get_row(account).refused, get_row(account).state) == ({}, {}, "synced")


def test_a_refused_e_mail_keeps_nothing_else(account):
    change(account, billing_email="nonsense", name="Neu GmbH")
    assert sync(account).outcome == "refused"
    assert (look(account).email, look(account).name) == ("rechnung@example.com", "Neu GmbH")
    assert "nonsense" in get_row(account).refused["email"]["reason"]


@pytest.mark.parametrize(
    ("value", "status", "alerts"),
    [("DE000000000", "verified", set()), ("DE111111111", "unverified", {"customer_tax_id_unverified"})],
)
def test_what_a_register_says_is_kept_and_alerted(stripe, value, status, alerts):
    account = provision(tax_id_value=value)
    sync(account)
    assert get_row(account).found["tax_ids"][0]["status"] == status
    assert set(list_alerts()) == alerts


def test_accounts_that_are_not_provisioned_are_left_alone(stripe):
    alone, linked = AccountFactory.create(), CustomerAccountFactory.create()
    child = AccountFactory.create(parent=provision())
    assert [sync(one).outcome for one in (alone, linked, child)] == ["unchanged"] * 3
    assert CustomerSync.objects.count() == 1


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda account: edit_at_stripe(account, metadata={"account_id": "1"}), "that it is account 1's"),
        (
            lambda account: gateway.transport.call("delete", f"/v1/customers/{account.stripe_customer_id}"),
            "deleted",
        ),
        (lambda account: change(account, stripe_customer_id="cus_nobody"), "No such customer"),
    ],
)
def test_a_wrong_customer_is_not_written(account, spoil, words):
    change(account, name="Neu GmbH")
    spoil(account)
    result = sync(account)
    assert result.outcome == "failed"
    assert words in result.detail
    assert (get_row(account).state, get_row(account).claim_token) == ("failed", "")
    assert words in list_alerts()["customer_sync_failed"]


def test_a_customer_that_says_nothing_gets_its_account_s_id(account):
    edit_at_stripe(account, metadata={"account_id": ""})
    sync(account)
    assert look(account).metadata == {"account_id": str(account.pk)}


@pytest.mark.parametrize("kind", ["drop_before", "drop_after", "500_after"])
@pytest.mark.parametrize(
    ("method", "path"), [("POST", "*/tax_ids"), ("DELETE", "*/tax_ids/*"), ("POST", "cus_*")]
)
def test_a_lost_answer_leads_to_the_same_end(account, stripe, kind, method, path):
    change(account, name="Neu GmbH", **NEW_VAT)
    rule = stripe.control(
        "POST", "/_sandbox/faults", {"kind": kind, "method": method, "path": f"/v1/customers/{path}", "times": 3}
    )  # fmt: skip
    assert sync(account).outcome in ("failed", "changed"), "the SDK's own repetitions may do it"
    stripe.control("DELETE", f"/_sandbox/faults/{rule['id']}")
    assert sync(account).outcome in ("changed", "unchanged")
    assert (look(account).name, list_values(account)) == ("Neu GmbH", ["ATU12345678"])
    assert list_alerts() == {}


class Killed(BaseException):
    """What nothing catches."""


@pytest.mark.parametrize("is_after_effect", [False, True])
@pytest.mark.parametrize("goes_on_to", [None, "LU12345678"])
def test_a_worker_killed_at_any_line_leaves_one_tax_id(stripe, monkeypatch, is_after_effect, goes_on_to):
    """At the n-th call to Stripe, before or after it took effect; then perhaps the account changes once more."""
    original = gateway.transport.call
    survived = 0
    for number in range(1, 20):
        account = provision()
        change(account, name="Neu GmbH", **NEW_VAT)
        calls = 0

        def die(method, path, *args, number=number, **options):
            nonlocal calls
            calls += 1
            if calls == number and not is_after_effect:
                raise Killed
            answer = original(method, path, *args, **options)
            if calls == number:
                raise Killed
            return answer

        monkeypatch.setattr("billing_worker.gateway.customers.call", die)
        try:
            sync(account)
            survived += 1
        except Killed:
            pass
        monkeypatch.setattr("billing_worker.gateway.customers.call", original)
        if goes_on_to:
            change(account, tax_id_value=goes_on_to)
        if survived == 0:
            assert sync(account).outcome == "waiting", "its claim holds"
        forget_claims()
        assert sync(account).outcome in ("changed", "unchanged")
        assert list_values(account) == [goes_on_to or "ATU12345678"], f"killed at call {number}"
        assert look(account).name == "Neu GmbH"
        assert get_row(account).state == "synced"
        if survived:
            break
    assert survived == 1
    assert number > 6


def test_a_change_that_comes_while_another_worker_is_at_it_is_not_lost(account, monkeypatch):
    """The second worker finds the claim and leaves; the first looks once more before it lets go."""
    original = outcome.settle_alerts
    came: list[bool] = []

    def come(row, seen, *, now):
        original(row, seen, now=now)
        if not came:
            came.append(True)
            change(account, name="Zuletzt GmbH")
            assert sync(account).outcome == "waiting"

    monkeypatch.setattr(syncing, "settle_alerts", come)
    assert sync(account).outcome == "changed"
    assert look(account).name == "Zuletzt GmbH"
    assert get_row(account).claim_token == ""


def test_a_worker_that_was_taken_for_dead_writes_nothing_more(account, monkeypatch):
    change(account, name="Alt GmbH")
    original = gateway.get_customer
    slept: list[bool] = []

    def sleep(*args, **options):
        answer = original(*args, **options)
        if not slept:
            slept.append(True)
            forget_claims()
            change(account, name="Neu GmbH")
            assert sync(account).outcome == "changed"
        return answer

    monkeypatch.setattr(gateway, "get_customer", sleep)
    assert sync(account).outcome == "waiting"
    assert look(account).name == "Neu GmbH"


def test_an_outage_is_one_alert_and_the_rest_waits(stripe):
    accounts = [provision() for _ in range(5)]
    stripe.control(
        "POST", "/_sandbox/faults", {"kind": "500_before", "method": "GET", "path": "/v1/customers/*"}
    )
    results = sync_customers(actor="test", now=NOW)
    assert [result.outcome for result in results] == ["failed"] * 3 + ["waiting"] * 2
    assert list(Alert.objects.values_list("name", "subject")) == [("customer_sync_failed", "Stripe")]
    again = sync_customers(actor="test", now=NOW)
    assert [result.outcome for result in again] == ["failed"] * 3 + ["waiting"] * 2
    assert {result.account_id for result in again[:2]} == {one.pk for one in accounts[3:]}, (
        "who failed comes last"
    )
    assert Alert.objects.count() == 1
    stripe.control("DELETE", "/_sandbox/faults")
    results = sync_customers(actor="test", now=NOW, only_due=True)
    assert {result.outcome for result in results} == {"unchanged"}
    assert len(results) == len(accounts)
    assert list_alerts() == {}


def test_one_customer_that_stripe_never_answers_for_is_alerted_the_second_time(account, stripe):
    other = provision()
    path = f"/v1/customers/{account.stripe_customer_id}"
    stripe.control("POST", "/_sandbox/faults", {"kind": "500_before", "method": "GET", "path": path})
    assert [one.outcome for one in sync_customers(actor="test", now=NOW)] == ["failed", "unchanged"]
    assert not Alert.objects.exists(), "it may have been a moment's trouble"
    results = [(one.account_id, one.outcome) for one in sync_customers(actor="test", now=NOW)]
    assert results == [(other.pk, "unchanged"), (account.pk, "failed")]
    assert Alert.objects.get().subject == f"account {account.pk}"
