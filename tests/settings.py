"""Settings of the tests: the project's own, in an environment that the shell cannot change.

Every variable that the project reads is taken out of the environment first, so a developer's `DATABASE_URL` or
live key never reaches a test. `TEST_DATABASE_URL` (set by `bin/with-mariadb`) names the server to test on; without
it, SQLite.
"""

from __future__ import annotations

import os

from billing_worker.env import Environment
from tests.support.temporary import take_temporary_folder

TEST_VAR_DIR = take_temporary_folder()
#: WhiteNoise warns when its folder is missing, and warnings are errors here.
os.mkdir(f"{TEST_VAR_DIR}/static")

for _name in Environment.model_fields:
    os.environ.pop(_name, None)
os.environ.update(
    VAR_DIR=TEST_VAR_DIR,
    LOG_LEVEL="WARNING",
    DATABASE_URL=os.environ.get("TEST_DATABASE_URL", ""),
    STRIPE_SECRET_KEY="sk_test_tests",
    STRIPE_WEBHOOK_SECRET="whsec_tests",
    # Nothing listens there: a test that reaches Stripe without a sandbox of its own fails at once.
    STRIPE_API_BASE="http://127.0.0.1:9",
)

from stripe import HTTPClient  # noqa: E402

from billing_worker.settings import *  # noqa: E402, F403
from billing_worker.settings import DATABASES, STORAGES  # noqa: E402

#: Forty seconds of dj-stripe's migrations are run by one test (tests/infra), not by every worker.
MIGRATION_MODULES = {"djstripe": None}
if DATABASES["default"]["ENGINE"].endswith("sqlite3"):
    # A file, like the embedded default: threads then wait for each other's locks as they do in real life.
    DATABASES["default"]["TEST"] = {"NAME": f"{TEST_VAR_DIR}/test.sqlite3"}
else:
    DATABASES["default"]["TEST"] = {"CHARSET": "utf8mb4", "COLLATION": "utf8mb4_bin"}

# Stripe's SDK waits half a second and more before it tries again: here the third try follows at once.
HTTPClient.INITIAL_DELAY = HTTPClient.MAX_DELAY = 0.001  # type: ignore[assignment]

PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
STORAGES = {**STORAGES, "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}}
#: Kicks go nowhere unless a test starts a worker: the rows are the queue of record.
CELERY_BROKER_URL = "memory://"
CELERY_BROKER_TRANSPORT_OPTIONS = {}
