"""Settings of the processes that tests start: the tests' own, on the database and the sandbox that the test names."""

from __future__ import annotations

import os

from tests.settings import *  # noqa: F403
from tests.settings import DATABASES, ENV

#: `TEST_DATABASE_URL` names the database, as everywhere; `TEST_STRIPE_URL` the sandbox.
ENV = ENV.model_copy(
    update={
        "STRIPE_API_BASE": os.environ.get("TEST_STRIPE_URL", ENV.STRIPE_API_BASE),
        "STRIPE_TIMEOUT_SECONDS": 2,
        "METER_EVENTS_TRANSPORT": os.environ.get("TEST_TRANSPORT", ENV.METER_EVENTS_TRANSPORT),
        "SHADOW": False,
        "PUBLIC_URL": "http://127.0.0.1:8000",
    }
)
assert DATABASES["default"]
