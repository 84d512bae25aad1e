"""`manage.py describe_settings`: every setting, as `.env.example` or as `docs/settings.md`."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from billing_worker.commands import BillingCommand
from billing_worker.settings_reference import FORMATS


class Command(BillingCommand):
    help = "Print every setting with type, default and meaning."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--format", choices=sorted(FORMATS), default="markdown")

    def handle(self, *args: Any, **options: Any) -> None:
        self.stdout.write(FORMATS[options["format"]](), ending="")
