"""Tell Stripe where to send events."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.management.base import CommandError, CommandParser

from billing_worker import gateway
from billing_worker.commands import BillingCommand
from billing_worker.webhooks.registry import list_subscribed_types


class Command(BillingCommand):
    help = "Register this service's webhook address at Stripe, in the pinned API version, and print the secret once."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--url", help="The full address; default: PUBLIC_URL with /webhook/stripe behind it."
        )
        parser.add_argument(
            "--force", action="store_true", help="Also if Stripe has this address already (rotation)."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        url = options["url"] or f"{settings.ENV.PUBLIC_URL.rstrip('/')}/webhook/stripe"
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise CommandError(f"--url {url!r} is not an http(s) address", returncode=2)
        if not options["force"] and any(endpoint.url == url for endpoint in gateway.list_webhook_endpoints()):
            raise CommandError(
                f"Stripe sends to {url} already; its secret was shown when it was made. "
                "--force registers it a second time, to rotate the secret",
                returncode=2,
            )
        endpoint = gateway.create_webhook_endpoint(url=url, events=list_subscribed_types())
        self.stdout.write(f"{endpoint.id} {endpoint.url}")
        self.stdout.write(f"STRIPE_WEBHOOK_SECRET={endpoint.secret}")
        self.stderr.write(
            "Shown once: put it into STRIPE_WEBHOOK_SECRET (beside the old one while you rotate)."
        )
