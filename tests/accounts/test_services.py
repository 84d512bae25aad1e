from __future__ import annotations

from datetime import UTC, datetime

import pytest

from billing_worker.accounts.models import AuditEntry, ServiceKey
from billing_worker.accounts.selectors import UnknownAccount, get_biller
from billing_worker.accounts.services import (
    CustomerAlreadyLinked,
    create_service_key,
    link_customer,
    record_test_clock,
    revoke_service_key,
    set_biller,
)
from billing_worker.accounts.states import Biller
from billing_worker.core.errors import InvalidInput
from billing_worker.core.periods import Period
from tests.factories import NOW, AccountFactory, ClockFactory, CustomerAccountFactory

pytestmark = pytest.mark.django_db
OCTOBER = Period(2026, 10)


def say(account_id: int, biller: Biller, reason: str = "cohort 1 moves") -> None:
    set_biller(account_id=account_id, period=OCTOBER, biller=biller, actor="ops", reason=reason, now=NOW)


def test_each_change_of_the_biller_is_audited_once():
    account = AccountFactory.create()
    say(account.pk, Biller.STRIPE)
    say(account.pk, Biller.STRIPE)
    say(account.pk, Biller.LEGACY, "rolled back")

    assert get_biller(account.pk, OCTOBER) == Biller.LEGACY
    entries = list(AuditEntry.objects.order_by("pk").values_list("reason", "before", "after"))
    assert entries == [
        ("cohort 1 moves", {"period": "2026-10", "biller": "legacy"}, {"period": "2026-10", "biller": "stripe"}),
        ("rolled back", {"period": "2026-10", "biller": "stripe"}, {"period": "2026-10", "biller": "legacy"}),
    ]  # fmt: skip


def test_a_change_of_the_biller_needs_a_reason_and_an_account():
    account = AccountFactory.create()
    with pytest.raises(InvalidInput, match="say why"):
        say(account.pk, Biller.STRIPE, "  ")
    with pytest.raises(UnknownAccount):
        say(404, Biller.STRIPE)


def test_linking_a_customer_twice_changes_nothing():
    account, clock = AccountFactory.create(), ClockFactory.create()
    for _ in range(2):
        link_customer(account_id=account.pk, stripe_customer_id="cus_1", test_clock=clock, now=NOW)
    account.refresh_from_db()
    assert (account.stripe_customer_id, account.test_clock) == ("cus_1", clock)
    assert AuditEntry.objects.count() == 1


def test_a_customer_is_never_moved_silently():
    taken, free = CustomerAccountFactory.create(stripe_customer_id="cus_1"), AccountFactory.create()
    with pytest.raises(CustomerAlreadyLinked, match="already has customer"):
        link_customer(account_id=taken.pk, stripe_customer_id="cus_other", now=NOW)
    with pytest.raises(CustomerAlreadyLinked, match="belongs to another account"):
        link_customer(account_id=free.pk, stripe_customer_id="cus_1", now=NOW)
    free.refresh_from_db()
    assert free.stripe_customer_id is None


def test_a_test_clock_moves_and_keeps_its_name():
    record_test_clock(stripe_test_clock_id="clock_1", frozen_at=NOW, name="cohort 1")
    later = datetime(2026, 11, 1, 2, tzinfo=UTC)
    clock = record_test_clock(stripe_test_clock_id="clock_1", frozen_at=later, is_ready=False)
    assert (clock.name, clock.frozen_at, clock.is_ready) == ("cohort 1", later, False)


def test_a_service_key_is_shown_once_and_kept_as_a_hash():
    key, plain = create_service_key(name="admin-api", scopes=["usage:write"], actor="ops", now=NOW)
    assert plain not in str(list(ServiceKey.objects.values()))
    assert ServiceKey.objects.get_from_key(plain) == key
    assert AuditEntry.objects.get().after == {"name": "admin-api", "scopes": ["usage:write"]}


@pytest.mark.parametrize(
    ("name", "scopes"), [("", ["usage:write"]), ("x", []), ("x", ["usage:write", "root"])]
)
def test_a_service_key_needs_a_name_and_known_scopes(name, scopes):
    with pytest.raises(InvalidInput, match="scopes are"):
        create_service_key(name=name, scopes=scopes, actor="ops", now=NOW)


def test_a_revoked_key_opens_nothing():
    key, plain = create_service_key(name="admin-api", scopes=["usage:write"], actor="ops", now=NOW)
    revoke_service_key(key=key, actor="ops", reason="leaked", now=NOW)
    with pytest.raises(ServiceKey.DoesNotExist):
        ServiceKey.objects.get_from_key(plain)
