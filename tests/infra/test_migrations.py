"""Migrations run while the release before still serves: it must be able to write rows it knows less about."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.apps import apps
from django.db import connection, migrations, models
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.operations.base import Operation
from django.db.migrations.state import ModelState, ProjectState
from django.db.models import NOT_PROVIDED

from tests.factories import AccountFactory
from tests.reconciliation.factories import add_stripe_invoice, make_stripe_line
from tests.support.processes import ROOT

#: What the release before still reads or writes; gone only in the release after the one that stops using it.
TAKES_AWAY = (migrations.RemoveField, migrations.RenameField, migrations.RenameModel, migrations.DeleteModel)
#: Migrations that were looked at by a person: `("app", "name"): why it is safe`.
LOOKED_AT: dict[tuple[str, str], str] = {}


def is_filled_without_us(field: models.Field) -> bool:
    """Whether an INSERT that does not name the column works."""
    return field.many_to_many or field.null or field.generated or field.db_default is not NOT_PROVIDED


def find_dangers(operation: Operation, *, before: ProjectState, app: str) -> Iterator[str]:
    """What in this operation breaks the release before, in words; tables that are new with it break nothing."""
    old: ModelState | None = before.models.get((app, getattr(operation, "model_name", "").lower()))
    match operation:
        case migrations.AddField(field=field, name=name) if old and not is_filled_without_us(field):
            yield f"{operation.model_name}.{name} is NOT NULL without db_default"
        case migrations.AlterField(field=field, name=name) if old:
            if is_filled_without_us(old.get_field(name)) and not is_filled_without_us(field):
                yield f"{operation.model_name}.{name} becomes NOT NULL without db_default"
        case _ if isinstance(operation, TAKES_AWAY):
            yield operation.describe()


def find_own_migrations() -> list[tuple[str, str]]:
    own = {
        config.label
        for config in apps.get_app_configs()
        if Path(config.path).is_relative_to(ROOT) and ".venv" not in Path(config.path).parts
    }
    loader = MigrationLoader(None)
    return sorted(key for key in loader.disk_migrations if key[0] in own)


OWN = find_own_migrations()


@pytest.fixture(scope="module")
def loader() -> MigrationLoader:
    return MigrationLoader(None)


def test_there_are_migrations_to_look_at() -> None:
    assert {app for app, _ in OWN} >= {"accounts", "cohorts", "invoices", "metering", "mirror"}
    assert len(OWN) > 10


@pytest.mark.parametrize("key", OWN, ids=".".join)
def test_the_release_before_can_still_write(key: tuple[str, str], loader: MigrationLoader) -> None:
    if key in LOOKED_AT:
        pytest.skip(LOOKED_AT[key])
    state: ProjectState = loader.project_state(key, at_end=False)
    created = {
        operation.name.lower()
        for operation in loader.disk_migrations[key].operations
        if isinstance(operation, migrations.CreateModel)
    }
    dangers: list[str] = []
    for operation in loader.disk_migrations[key].operations:
        if getattr(operation, "model_name", "").lower() not in created:
            dangers += find_dangers(operation, before=state, app=key[0])
        operation.state_forwards(key[0], state)
    assert dangers == []


_GENERATED: models.Field = models.GeneratedField(
    expression=models.F("must"), output_field=models.IntegerField(), db_persist=True
)


@pytest.mark.parametrize(
    ("operation", "danger"),
    [
        (migrations.AddField("row", "a", models.IntegerField(default=1)), "row.a is NOT NULL without db_default"),
        (migrations.AddField("row", "a", models.CharField(blank=True)), "row.a is NOT NULL without db_default"),
        (migrations.AddField("row", "a", models.IntegerField(db_default=1)), None),
        (migrations.AddField("row", "a", models.IntegerField(null=True)), None),
        (migrations.AddField("row", "a", _GENERATED), None),
        (migrations.AddField("other", "a", models.IntegerField()), None),
        (migrations.AlterField("row", "maybe", models.IntegerField()), "row.maybe becomes NOT NULL without db_default"),
        (migrations.AlterField("row", "maybe", models.BigIntegerField(null=True)), None),
        (migrations.AlterField("row", "must", models.BigIntegerField()), None),
        (migrations.RemoveField("row", "must"), "Remove field must from row"),
        (migrations.RenameField("row", "must", "shall"), "Rename field must on row to shall"),
        (migrations.DeleteModel("row"), "Delete model row"),
    ],
)  # fmt: skip
def test_what_is_dangerous(operation: Operation, danger: str | None) -> None:
    before = ProjectState()
    fields: list[tuple[str, models.Field]] = [
        ("must", models.IntegerField()),
        ("maybe", models.IntegerField(null=True)),
    ]
    before.add_model(ModelState("app", "Row", fields))
    found = list(find_dangers(operation, before=before, app="app"))
    assert [found_one.lower() for found_one in found] == ([danger.lower()] if danger else [])


def test_the_database_fills_what_an_older_release_leaves_out(db: None) -> None:
    account: Any = AccountFactory()
    line = add_stripe_invoice(account, make_stripe_line("sub", 100)).lines.get()
    rows: list[Any] = [AccountFactory(), add_stripe_invoice(account), line]
    for row in rows:
        filled = [field for field in row._meta.concrete_fields if field.db_default is not NOT_PROVIDED]
        assert filled, "nothing to test here"
        expected = {field.attname: getattr(row, field.attname) for field in filled}
        columns = {
            field.column: field.get_db_prep_save(getattr(row, field.attname), connection)
            for field in row._meta.concrete_fields
            if field not in filled
        }
        key = row.pk
        type(row)._default_manager.filter(pk=key).delete()
        names, marks = ", ".join(columns), ", ".join(["%s"] * len(columns))
        with connection.cursor() as cursor:
            cursor.execute(
                f"INSERT INTO {row._meta.db_table} ({names}) VALUES ({marks})", list(columns.values())
            )
        found = type(row)._default_manager.get(pk=key)
        assert {name: getattr(found, name) for name in expected} == expected
