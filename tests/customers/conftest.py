import pytest

from tests.cohorts.fixtures import stripe as stripe
from tests.legacy.fixtures import legacy_tables as legacy_tables


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """The SDK's pauses between its own repetitions are cut short."""
    from stripe import HTTPClient

    monkeypatch.setattr(HTTPClient, "INITIAL_DELAY", 0.001)
    monkeypatch.setattr(HTTPClient, "MAX_DELAY", 0.001)
