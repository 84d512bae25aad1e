from tests.cohorts.fixtures import stripe as stripe
from tests.legacy.fixtures import legacy_tables as legacy_tables
