"""`manage.py create_demo_users`: a person for each role, with passwords printed."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from dataclasses import asdict
from typing import Any

from django.conf import settings

from billing_worker.accounts.people import create_demo_people
from billing_worker.commands import BillingCommand


class Command(BillingCommand):
    help = "Create the demo's people and print their passwords. Refused with ENVIRONMENT=production."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--password", help="The password of all of them (default: a random one each).")
        parser.add_argument("--json", action="store_true", help="Print a JSON list instead of a table.")

    def handle(self, *args: Any, **options: Any) -> None:
        people = create_demo_people(is_production=settings.ENV.is_production, password=options["password"])
        if options["json"]:
            self.stdout.write(json.dumps([asdict(person) for person in people]))
            return
        for person in people:
            self.stdout.write(f"{person.role:<10} {person.username:<10} {person.password}")
