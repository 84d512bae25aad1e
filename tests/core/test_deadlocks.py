"""What the database undid is done again; what it refused is not."""

from __future__ import annotations

import pytest
from django.db import OperationalError, transaction

from billing_worker.deadlocks import retry_when_undone


def make_work(*answers: object):
    left = list(answers)

    @retry_when_undone
    def work() -> object:
        answer = left.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    return work, left


@pytest.mark.django_db(transaction=True)
def test_a_deadlock_and_a_lock_wait_are_done_again():
    work, left = make_work(
        OperationalError(1213, "Deadlock found"), OperationalError(1205, "Lock wait"), "done"
    )
    assert work() == "done"
    assert left == []


@pytest.mark.django_db(transaction=True)
def test_other_errors_and_the_fifth_deadlock_come_through():
    work, left = make_work(OperationalError(2006, "server has gone away"), "never")
    with pytest.raises(OperationalError, match="gone away"):
        work()
    assert left == ["never"]
    work, left = make_work(*[OperationalError(1213, "Deadlock found")] * 5, "never")
    with pytest.raises(OperationalError, match="Deadlock"):
        work()
    assert left == ["never"]


@pytest.mark.django_db(transaction=True)
def test_inside_a_transaction_nothing_is_done_again():
    """The outer transaction is undone with it: only its owner can begin anew."""
    work, left = make_work(OperationalError(1213, "Deadlock found"), "never")
    with pytest.raises(OperationalError), transaction.atomic():
        work()
    assert left == ["never"]
