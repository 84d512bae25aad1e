"""Form a cohort from accounts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from django.core.management.base import CommandParser
from django.utils import timezone

from billing_worker.commands import BillingCommand
from billing_worker.core.errors import InvalidInput
from cohorts.services import create_cohort


class Command(BillingCommand):
    help = "Form a draft cohort: create_cohort NAME --accounts 1001,1002 or --from-file cohorts.json (name -> [ids])"

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", help="The cohort's name, a slug like cohort-1.")
        source = parser.add_mutually_exclusive_group(required=True)
        source.add_argument("--accounts", help="Account ids, comma separated.")
        source.add_argument(
            "--from-file", type=Path, help="JSON file that maps cohort names to lists of account ids."
        )
        parser.add_argument("--description", default="", help="What the cohort is, for people.")

    def handle(self, *args: Any, **options: Any) -> None:
        ids = (
            _parse_ids(options["accounts"])
            if options["accounts"]
            else _read_ids(options["from_file"], options["name"])
        )
        cohort = create_cohort(
            name=options["name"],
            account_ids=ids,
            description=options["description"],
            actor="command:create_cohort",
            now=timezone.now(),
        )
        self.stdout.write(f"cohort {cohort.name}: {cohort.members.count()} accounts, {cohort.state}")


def _parse_ids(text: str) -> list[int]:
    parts = [part.strip() for part in text.split(",") if part.strip()]
    bad = [part for part in parts if not (part.isascii() and part.isdigit())]
    if bad:
        raise InvalidInput(f"--accounts takes numbers, not {', '.join(bad)}")
    return [int(part) for part in parts]


def _read_ids(path: Path, name: str) -> list[int]:
    try:
        listing = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InvalidInput(f"can't read {path}: {error}") from error
    ids = listing.get(name) if isinstance(listing, dict) else None
    if not isinstance(ids, list) or not all(isinstance(pk, int) and not isinstance(pk, bool) for pk in ids):
        raise InvalidInput(f"{path} has no list of account ids under {name!r}")
    return ids
