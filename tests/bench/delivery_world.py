"""A month's end at the sandbox: customers with a plan and tiers, their usage, and the invoices it comes to."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime
from decimal import Decimal
from threading import local
from typing import Any, TypeVar
from urllib.parse import urlencode

START = int(datetime(2026, 10, 1, tzinfo=UTC).timestamp())
#: The clocks stand at the start, and a meter event may lie five minutes ahead of them.
USED_AT = START + 60
CLOSED = int(datetime(2026, 11, 1, tzinfo=UTC).timestamp())
FINALIZED = int(datetime(2026, 11, 1, 2, tzinfo=UTC).timestamp())
FIRST_ACCOUNT = 5001
#: Stripe's limit for one test clock.
PER_CLOCK = 3
CONNECTIONS = 4
FLAT = Decimal(49900)
TIERS: dict[str, list[tuple[int | None, str]]] = {
    "ST": [(1_000_000, "0.25"), (5_000_000, "0.2"), (None, "0.15")],
    "RM": [(500_000, "0"), (None, "0.4")],
    "CV": [(None, "1.25")],
}
#: Impressions in October by type, the same for all but for the account's number: seven lines to an invoice.
USAGE = {"ST": 6_000_000, "RM": 800_000, "CV": 12_345}

T = TypeVar("T")
R = TypeVar("R")


class SandboxApi:
    """Stripe's API at the sandbox over a kept connection for each thread."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._local = local()

    def call(self, method: str, path: str, params: dict[str, Any] | None = None) -> Any:
        """One request and its decoded answer.

        Raises:
            RuntimeError: it was refused.
        """
        connection = self._local.__dict__.setdefault(
            "connection", http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
        )
        headers = {
            "Authorization": "Bearer sk_test_bench",
            "Content-Type": "application/x-www-form-urlencoded",
        }
        connection.request(method, path, urlencode(params or {}), headers)
        answer = connection.getresponse()
        content = json.loads(answer.read())
        if answer.status != 200:
            raise RuntimeError(f"{method} {path}: {answer.status} {content}")
        return content


def in_parallel(work: Callable[[T], R], items: Sequence[T]) -> list[R]:
    """`work` on each item over a few connections, answers in the items' order."""
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        return list(pool.map(work, items))


def prepare_accounts(count: int) -> dict[str, str]:
    """Accounts with terms and the catalog for them; returns Stripe's price ids by kind. In Django."""
    from django.utils import timezone

    from billing_worker.accounts.models import Account, AccountPlan, AccountTier
    from billing_worker.catalog.models import CatalogPrice
    from billing_worker.catalog.services import apply_catalog
    from tests.factories import AccountFactory

    now = timezone.now()
    accounts = AccountFactory.build_batch(count, address_country="US", address_city="Springfield")
    Account.objects.bulk_create(accounts)
    since = date(2020, 1, 1)
    AccountPlan.objects.bulk_create(
        AccountPlan(account=account, plan_name="Essential", unit_amount_decimal=FLAT, effective_from=since)
        for account in accounts
    )
    AccountTier.objects.bulk_create(
        AccountTier(
            account=account, usage_type=kind, tier_from=lower or 0, tier_to=upper,
            unit_amount_decimal=Decimal(rate), effective_from=since,
        )
        for account in accounts
        for kind, steps in TIERS.items()
        for lower, (upper, rate) in zip([None, *(upper for upper, _ in steps)], steps, strict=False)
    )  # fmt: skip
    apply_catalog(at=now.date())
    return dict(CatalogPrice.objects.values_list("kind", "stripe_price_id"))


def make_invoices(port: int, count: int, prices: dict[str, str]) -> list[dict[str, Any]]:
    """Bill October for that many customers; returns Stripe's `invoice.finalized` events of 1 November, oldest first."""
    api = SandboxApi(port)
    groups = [
        range(FIRST_ACCOUNT + at, FIRST_ACCOUNT + min(at + PER_CLOCK, count))
        for at in range(0, count, PER_CLOCK)
    ]
    clocks = in_parallel(lambda group: _subscribe(api, group, prices), groups)
    for clock in clocks:
        api.call("POST", f"/v1/test_helpers/test_clocks/{clock}/advance", {"frozen_time": FINALIZED})
    in_parallel(lambda clock: _wait(api, clock), clocks)
    events = [
        event
        for event in _list_events(api, "invoice.finalized")
        if event["data"]["object"]["billing_reason"] == "subscription_cycle"
    ]
    if len(events) != count:
        raise RuntimeError(f"the sandbox finalized {len(events)} invoices instead of {count}")
    return events[::-1]


def link_customers(port: int) -> None:
    """Give each account its customer, and dj-stripe its copy, as the months before would have. In Django."""
    from django.utils import timezone

    from billing_worker.accounts.models import Account
    from billing_worker.gateway import parse_instant
    from billing_worker.mirror.raw_copies import copy_object
    from billing_worker.webhooks.models import CustomerLock

    now = timezone.now()
    accounts = {account.pk: account for account in Account.objects.all()}
    # Stripe's list of customers leaves out those on test clocks.
    for event in _list(SandboxApi(port), "/v1/events", {"type": "customer.created"}):
        customer = event["data"]["object"]
        account = accounts[int(customer["metadata"]["account_id"])]
        account.stripe_customer_id = customer["id"]
        created_at = parse_instant(customer["created"])
        assert created_at is not None
        assert copy_object(customer, event_created_at=created_at, now=now)
        CustomerLock.objects.create(customer=customer["id"])
    Account.objects.bulk_update(accounts.values(), ["stripe_customer_id"], batch_size=500)


def _subscribe(api: SandboxApi, group: Iterable[int], prices: dict[str, str]) -> str:
    clock = api.call("POST", "/v1/test_helpers/test_clocks", {"frozen_time": START})["id"]
    for account_id in group:
        customer = api.call(
            "POST",
            "/v1/customers",
            {
                "name": f"Example {account_id} Ltd",
                "test_clock": clock,
                "metadata[account_id]": account_id,
                "email": f"billing-{account_id}@example.com",
            },
        )["id"]
        items = {f"items[{n}][price]": price for n, price in enumerate(prices.values())}
        api.call(
            "POST",
            "/v1/subscriptions",
            {
                "customer": customer,
                "collection_method": "send_invoice",
                "days_until_due": 30,
                "metadata[account_id]": account_id,
                **items,
            },
        )
        for kind, quantity in USAGE.items():
            api.call(
                "POST",
                "/v1/billing/meter_events",
                {
                    "event_name": f"impressions_{kind.lower()}",
                    "identifier": f"{account_id}:{kind}",
                    "timestamp": USED_AT,
                    "payload[stripe_customer_id]": customer,
                    "payload[value]": quantity + account_id,
                },
            )
    return str(clock)


def _wait(api: SandboxApi, clock: str) -> None:
    while api.call("GET", f"/v1/test_helpers/test_clocks/{clock}")["status"] != "ready":
        time.sleep(0.1)


def _list_events(api: SandboxApi, type_: str) -> list[dict[str, Any]]:
    return _list(api, "/v1/events", {"type": type_, "created[gte]": CLOSED})


def _list(api: SandboxApi, path: str, params: dict[str, Any] | None = None) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    query = {**(params or {}), "limit": 100}
    while True:
        page = api.call("GET", f"{path}?{urlencode(query)}")
        found += page["data"]
        if not page["has_more"]:
            return found
        query["starting_after"] = page["data"][-1]["id"]
