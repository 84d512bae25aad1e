"""Roles, demo people and service keys, through the commands."""

from __future__ import annotations

import json

import pytest
from django.contrib.auth import authenticate
from django.contrib.auth.models import Group, User
from django.core.management import CommandError, call_command

from billing_worker.accounts.models import ServiceKey
from billing_worker.accounts.roles import ROLES, sync_roles

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("role", sorted(ROLES))
def test_every_permission_of_a_role_exists_and_is_given(role):
    group = Group.objects.get(name=role)
    given = {
        f"{app}.{name}" for app, name in group.permissions.values_list("content_type__app_label", "codename")
    }
    assert set(ROLES[role]) <= given
    assert {"accounts.view_account", "accounts.view_auditentry", "catalog.view_catalogprice"} <= given
    extra = {name for name in given - set(ROLES[role]) if ".view_" not in name}
    assert extra == set()


def test_who_builds_the_move_does_not_sign_for_it():
    assert "cohorts.sign_off_cohort" not in ROLES["engineer"]
    assert "cohorts.run_cohort" not in ROLES["finance"]


def test_permissions_given_by_hand_stay():
    group = Group.objects.get(name="finance")
    by_hand = Group.objects.get(name="engineer").permissions.get(codename="add_servicekey")
    group.permissions.add(by_hand)
    sync_roles("accounts")
    assert by_hand in group.permissions.all()


def test_demo_people_can_log_in_with_what_was_printed(capsys):
    call_command("create_demo_users", "--json")
    people = json.loads(capsys.readouterr().out)

    assert {person["role"] for person in people} == {"ops", "finance", "engineer"}
    for person in people:
        user = authenticate(username=person["username"], password=person["password"])
        assert isinstance(user, User)
        assert (user.is_staff, user.is_superuser) == (True, False)
        assert [group.name for group in user.groups.all()] == [person["role"]]
    assert len({person["password"] for person in people}) == len(people)


def test_a_second_run_gives_the_same_people_new_passwords(capsys):
    call_command("create_demo_users")
    call_command("create_demo_users", "--password", "correct horse battery")
    assert User.objects.count() == 4
    assert authenticate(username="ops", password="correct horse battery") is not None


def test_demo_people_are_refused_in_production(settings):
    settings.ENV = settings.ENV.model_copy(update={"ENVIRONMENT": "production"})
    with pytest.raises(CommandError, match="refused with ENVIRONMENT=production") as refused:
        call_command("create_demo_users")
    assert refused.value.returncode == 2
    assert not User.objects.exists()


def test_a_service_key_is_printed_alone(capsys):
    call_command(
        "create_service_key", "--name", "admin-api", "--scope", "usage:write", "--scope", "usage:read"
    )
    found = ServiceKey.objects.get_from_key(capsys.readouterr().out.strip())
    key = ServiceKey.objects.get(pk=found.pk)
    assert (key.name, key.scopes) == ("admin-api", ["usage:read", "usage:write"])


def test_an_unknown_scope_is_one_line():
    with pytest.raises(CommandError, match="unknown scope root; scopes are usage:write") as refused:
        call_command("create_service_key", "--name", "x", "--scope", "root")
    assert refused.value.returncode == 2
