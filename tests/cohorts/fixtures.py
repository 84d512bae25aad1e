"""Import `stripe` into a conftest to get an empty stand-in for Stripe that the gateway speaks to."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.sandbox import SandboxServer


@pytest.fixture
def stripe(sandbox_server: SandboxServer, settings: Any) -> Iterator[SandboxServer]:
    """The session's sandbox, empty, as Stripe."""
    sandbox_server.reset()
    settings.ENV = settings.ENV.model_copy(
        update={"STRIPE_API_BASE": sandbox_server.url, "SHADOW": False, "STRIPE_TIMEOUT_SECONDS": 5}
    )
    yield sandbox_server
    sandbox_server.reset()
