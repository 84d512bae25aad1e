"""Deliver events as Stripe does, and work them off as a worker does."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, cast

import pytest
from django.http import HttpResponse
from django.test import Client

from billing_worker import gateway
from billing_worker.webhooks import registry
from billing_worker.webhooks.tasks import drain_inbox

Deliver = Callable[..., HttpResponse]


@pytest.fixture
def kicks(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """The tasks that were sent to the broker, which here takes them and forgets them."""
    sent: list[tuple[Any, ...]] = []

    def send(task: str, *args: Any) -> bool:
        sent.append((task, *args))
        return True

    for place in ("alerts.kicks", "webhooks.services", "webhooks.tasks"):
        monkeypatch.setattr(f"billing_worker.{place}.send_kick", send)
    return sent


@pytest.fixture
def deliver(client: Client, kicks: list[Any], django_capture_on_commit_callbacks: Any) -> Deliver:
    """Post an event to the webhook, signed with the live secret unless the test gives a header."""

    def post(event: dict[str, Any] | bytes, *, signature: str | None = None, **headers: str) -> HttpResponse:
        body = event if isinstance(event, bytes) else json.dumps(event).encode()
        signed = gateway.sign_payload(body=body, secret="whsec_tests", at=datetime.now(UTC))
        with django_capture_on_commit_callbacks(execute=True):
            answer = client.post(
                "/webhook/stripe",
                body,
                content_type="application/json",
                headers={"Stripe-Signature": signed if signature is None else signature, **headers},
            )
        return cast(HttpResponse, answer)

    return post


@pytest.fixture
def work() -> Callable[[], dict[str, int]]:
    """Process what is due, as one run of the worker's task does."""
    return lambda: drain_inbox(seconds=30)


@pytest.fixture
def receivers(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """An empty register of receivers; what a test registers is gone afterwards."""
    register: dict[str, Any] = {}
    monkeypatch.setattr(registry, "_receivers", register)
    return register
