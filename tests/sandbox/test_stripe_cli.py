"""Stripe's own CLI drives the sandbox: requests that nobody here wrote."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.sandbox.process import SandboxProcess
from tests.sandbox.sdk_shape import shape_problems
from tests.stripe_cli.runner import StripeCli, TriggerFailed

pytestmark = pytest.mark.stripe_cli

TRIGGERS = {
    "customer.created": {"customer.created"},
    "customer.updated": {"customer.created", "customer.updated"},
    "customer.deleted": {"customer.created", "customer.deleted"},
    "customer.source.created": {"customer.source.created", "customer.updated"},
    "price.created": {"product.created", "price.created"},
    "product.updated": {"product.created", "product.updated"},
    "payment_method.attached": {"payment_method.attached"},
    "payment_intent.succeeded": {"payment_intent.created", "charge.succeeded", "payment_intent.succeeded"},
    "payment_intent.payment_failed": {"charge.failed", "payment_intent.payment_failed"},
    "charge.refunded": {"charge.succeeded", "charge.refunded"},
    "setup_intent.succeeded": {"setup_intent.created", "setup_intent.succeeded"},
    "invoiceitem.created": {"invoiceitem.created"},
    "invoice.created": {"invoice.created"},
    "invoice.finalized": {"invoice.created", "invoice.finalized"},
    "invoice.paid": {"invoice.created", "invoice.finalized", "invoice.paid", "payment_intent.succeeded"},
    "invoice.payment_failed": {
        "invoice.finalized",
        "invoice.payment_failed",
        "payment_intent.payment_failed",
    },
    "invoice.voided": {"invoice.finalized", "invoice.voided"},
    "invoice.marked_uncollectible": {"invoice.finalized", "invoice.marked_uncollectible"},
    "customer.subscription.created": {"customer.subscription.created", "invoice.paid"},
    "customer.subscription.updated": {"customer.subscription.created", "customer.subscription.updated"},
    "customer.subscription.deleted": {"customer.subscription.created", "customer.subscription.deleted"},
    "credit_note.created": {"invoice.finalized", "credit_note.created"},
    "credit_note.voided": {"credit_note.created", "credit_note.voided"},
}


@pytest.mark.parametrize("event", TRIGGERS)
def test_trigger_leaves_its_events(
    sandbox: SandboxProcess, stripe_cli: Callable[[str], StripeCli], event: str
) -> None:
    stripe_cli(sandbox.url).trigger(event)
    page = sandbox.request("GET", "/v1/events?limit=100").body["data"]
    assert {found["type"] for found in page} >= TRIGGERS[event]
    assert [problem for found in page for problem in shape_problems(found["data"]["object"])] == []


def test_overrides_reach_the_object(sandbox: SandboxProcess, stripe_cli: Callable[[str], StripeCli]) -> None:
    stripe_cli(sandbox.url).trigger("customer.created", "--add", "customer:name=Ada Lovelace")
    assert sandbox.client.v1.customers.list().data[0].name == "Ada Lovelace"


def test_what_the_sandbox_does_not_cover_fails_loudly(
    sandbox: SandboxProcess, stripe_cli: Callable[[str], StripeCli]
) -> None:
    with pytest.raises(TriggerFailed, match="Unrecognized request URL"):
        stripe_cli(sandbox.url).trigger("payment_link.created")


def test_a_live_key_is_refused(sandbox: SandboxProcess, stripe_cli: Callable[[str], StripeCli]) -> None:
    cli = stripe_cli(sandbox.url)
    done = cli.run(
        "customers", "list", "--api-base", sandbox.url, "--api-key", "rk_live_" + "0" * 24, "--live"
    )
    assert "Invalid API Key provided" in done.stdout + done.stderr
