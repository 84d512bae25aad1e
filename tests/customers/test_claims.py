"""One worker at a time: claims are renewed, lost and never shared."""

from __future__ import annotations

import pytest

from billing_worker.customers.models import CustomerSync
from billing_worker.customers.services.claims import (
    LostClaim,
    keep_claim,
    read_claimed,
    release_claim,
    take_claim,
)
from tests.customers.world import forget_claims
from tests.factories import CustomerAccountFactory

pytestmark = pytest.mark.django_db


def test_a_claim_is_one_worker_s_until_it_is_let_go_or_taken_over():
    row = CustomerSync.objects.create(account=CustomerAccountFactory.create())
    first = take_claim(row.pk)
    assert first is not None
    read_claimed(first)
    assert take_claim(row.pk) is None
    assert not release_claim(first, error=""), "somebody came: look once more"
    assert read_claimed(first).requests == 1
    keep_claim(first, error="at it")

    forget_claims()
    with pytest.raises(LostClaim):
        keep_claim(first, error="too late")
    second = take_claim(row.pk)
    assert second is not None
    for late in (lambda: keep_claim(first, error="taken for dead"), lambda: read_claimed(first)):
        with pytest.raises(LostClaim):
            late()
    assert not release_claim(first, is_final=True, error="taken for dead")
    keep_claim(second, error="")
    read_claimed(second)
    assert release_claim(second)
    row.refresh_from_db()
    assert (row.claim_token, row.claimed_at, row.error) == ("", None, "")
    assert take_claim(row.pk) is not None
