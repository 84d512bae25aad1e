"""`manage.py create_service_key`: let another service call the API."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.utils import timezone

from billing_worker.accounts.services import SCOPES, create_service_key
from billing_worker.commands import BillingCommand


class Command(BillingCommand):
    help = "Create a service key and print it, once: only a hash is kept. Callers send `Authorization: Api-Key <key>`."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--name", required=True, help="Who calls with it, like admin-api.")
        parser.add_argument(
            "--scope",
            action="append",
            required=True,
            dest="scopes",
            help=f"What it may do; repeat for several: {', '.join(SCOPES)}.",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        _, plain = create_service_key(
            name=options["name"],
            scopes=options["scopes"],
            actor="command:create_service_key",
            now=timezone.now(),
        )
        self.stdout.write(plain)
