"""The demo's people: one for each role, and a second one who may sign. Never in production."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Final

from django.contrib.auth.models import Group, User
from django.db import transaction

from billing_worker.accounts.roles import ENGINEER, FINANCE, OPS
from billing_worker.core.errors import NotAllowed

DEMO_PEOPLE: Final[tuple[tuple[str, str], ...]] = (
    ("engineer", ENGINEER),
    ("ops2", OPS),
    ("ops", OPS),
    ("finance", FINANCE),
)


class DemoPeopleRefused(NotAllowed):
    """Known passwords have no place in production: create people with `createsuperuser` and in the console."""

    code = "demo_people_refused"


@dataclass(frozen=True, slots=True)
class DemoPerson:
    """A person of the demo with the password in plain text, to be shown."""

    username: str
    role: str
    password: str


@transaction.atomic
def create_demo_people(*, is_production: bool, password: str | None = None) -> list[DemoPerson]:
    """Create the people, or give those that exist a new password: `password`, or a random one each.

    Raises:
        DemoPeopleRefused: this is production.
    """
    if is_production:
        raise DemoPeopleRefused(
            "demo users have known passwords: they are refused with ENVIRONMENT=production"
        )
    people = [DemoPerson(name, role, password or secrets.token_urlsafe(12)) for name, role in DEMO_PEOPLE]
    for person in people:
        user, _ = User.objects.get_or_create(
            username=person.username, defaults={"email": f"{person.username}@example.com"}
        )
        user.is_staff, user.is_active = True, True
        user.set_password(person.password)
        user.save()
        group, _ = Group.objects.get_or_create(name=person.role)
        user.groups.set([group])
    return people
