"""Import `legacy_tables` into a test module or its conftest to get the old service's tables."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.legacy.tables import legacy_tables_open


@pytest.fixture
def legacy_tables(db: None) -> Iterator[None]:
    """Empty tables of the old service, writable for the test."""
    with legacy_tables_open():
        yield
