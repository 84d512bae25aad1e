from tests.legacy.fixtures import legacy_tables as legacy_tables
