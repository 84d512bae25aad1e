"""Accounts and a catalog for the mirror to resolve against."""

from __future__ import annotations

import pytest

from billing_worker.accounts.models import Account
from billing_worker.catalog.models import CatalogProduct
from tests.factories import AccountFactory


@pytest.fixture
def account(db: None) -> Account:
    """The payer: owns `cus_1`."""
    return AccountFactory.create(id=5001, stripe_customer_id="cus_1")


@pytest.fixture
def catalog(db: None) -> None:
    """Our products as `catalog_apply` leaves them."""
    for kind in ("sub", "ST", "managed"):
        CatalogProduct.objects.create(kind=kind, stripe_product_id=f"prod_{kind.lower()}", name=kind)
