"""A draft invoice at Stripe and here, as the draft window's tests need it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from billing_worker import gateway
from billing_worker.accounts.models import Account
from billing_worker.core.periods import Period
from billing_worker.mirror.models import StripeInvoice, StripeInvoiceLine
from metering.draft_window.completeness import list_reasons
from metering.draft_window.completions import declare_complete
from metering.draft_window.models import DraftHold
from metering.draft_window.services import HoldPolicy, plan_hold
from metering.draft_window.working import work_hold
from tests.factories import BillingLeaseFactory, CustomerAccountFactory, make_tiers

OCTOBER = Period(2026, 10)
DRAFTED = datetime(2026, 11, 1, tzinfo=UTC)
NOW = DRAFTED + timedelta(minutes=10)
POLICY = HoldPolicy()


class FakeInvoices:
    """One draft at Stripe, and the calls that changed it. `faults` are raised in turn, before or after the effect."""

    def __init__(self) -> None:
        self.status = "draft"
        self.auto_advance = True
        self.calls: list[str] = []
        self.faults: list[tuple[str, BaseException]] = []

    def get_invoice(self, invoice: str) -> Any:
        return self._describe()

    def set_auto_advance(self, invoice: str, enabled: bool) -> Any:
        return self._call(f"auto_advance={enabled}", lambda: setattr(self, "auto_advance", enabled))

    def finalize_invoice(self, invoice: str, *, auto_advance: bool, idempotency_key: str) -> Any:
        return self._call("finalize", lambda: setattr(self, "status", "open"))

    def _call(self, name: str, effect: Any) -> Any:
        place, fault = self.faults.pop(0) if self.faults else ("", None)
        if fault is not None and place == "before":
            raise fault
        if self.status != "draft":
            raise gateway.GatewayRejected("not a draft", stripe_code=None, param=None, status=400)
        self.calls.append(name)
        effect()
        if fault is not None:
            raise fault
        return self._describe()

    def _describe(self) -> Any:
        is_open = self.status != "draft"
        return type(
            "Invoice",
            (),
            {
                "status": self.status,
                "auto_advance": self.auto_advance,
                "created_at": DRAFTED,
                "finalized_at": DRAFTED + timedelta(hours=1) if is_open else None,
            },
        )


def install(put: Any, fake: FakeInvoices) -> None:
    for name in ("get_invoice", "set_auto_advance", "finalize_invoice"):
        put(gateway, name, getattr(fake, name))


def make_account(**changes: Any) -> Account:
    account = CustomerAccountFactory.create(**{"id": 5001, **changes})
    make_tiers(account, "ST", (None, "0.2"))
    BillingLeaseFactory.create(account=account)
    return account


def make_draft(account: Account, **changes: Any) -> StripeInvoice:
    line = changes.pop("line", {})
    values: dict[str, Any] = {
        "stripe_invoice_id": "in_1", "account": account, "customer": account.stripe_customer_id, "status": "draft",
        "currency": "usd", "billing_reason": "subscription_cycle", "period_start": OCTOBER.start_at,
        "period_end": OCTOBER.end_at, "created_at": DRAFTED, "last_event_at": DRAFTED,
        **dict.fromkeys(("subtotal_minor", "total_minor", "amount_due_minor", "amount_paid_minor",
                         "amount_remaining_minor"), 0),
    }  # fmt: skip
    if "account_id" in changes:
        del values["account"]
    invoice = StripeInvoice.objects.create(**values | changes)
    of_line = {
        "stripe_line_id": "il_1", "position": 0, "kind": "ST", "amount_minor": 0, "currency": "usd",
        "period_start": OCTOBER.start_at, "period_end": OCTOBER.end_at,
    }  # fmt: skip
    StripeInvoiceLine.objects.create(invoice=invoice, **of_line | line)
    return invoice


def plan(account: Account, **changes: Any) -> DraftHold:
    hold = plan_hold(invoice=make_draft(account, **changes), policy=POLICY, now=NOW)
    assert hold is not None
    return hold


def declare(account_ids: list[int] | None = None) -> None:
    declare_complete(period=OCTOBER, account_ids=account_ids, actor="test", now=NOW)


def reasons_of(account: Account) -> list[str]:
    return list_reasons(OCTOBER, payer_ids=[account.pk])[account.pk]


def work(hold: DraftHold, now: datetime = NOW, policy: HoldPolicy = POLICY) -> str:
    state = work_hold(hold_id=hold.pk, policy=policy, now=now)
    hold.refresh_from_db()
    return state
