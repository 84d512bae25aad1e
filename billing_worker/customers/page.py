"""What an account's page says about its customer at Stripe. Reads only, and never Stripe itself."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from django.conf import settings

from billing_worker.accounts.models import Account
from billing_worker.accounts.selectors import get_billing_account
from billing_worker.customers.comparing import (
    FIELDS,
    TAX_ID,
    HeldTaxId,
    Order,
    describe_held,
    is_our_tax_id,
    is_same_tax_id,
)
from billing_worker.customers.models import CustomerSync
from billing_worker.customers.selectors import compare_row, is_due
from billing_worker.customers.states import SyncState, Verdict
from billing_worker.customers.wanted import build_wanted
from billing_worker.customers.wording import describe_value, name_field

_TONES: Final = {
    Verdict.SAME: "is-ok",
    Verdict.WRITE: "is-warning",
    Verdict.THEIRS: "is-critical",
    Verdict.REFUSED: "is-critical",
}
_STATE_TONES: Final = {
    SyncState.SYNCED: "is-ok",
    SyncState.DIFFERS: "is-warning",
    SyncState.REFUSED: "is-critical",
    SyncState.FAILED: "is-critical",
}
_STATUS_TONES: Final = {"verified": "is-ok", "unverified": "is-critical", "pending": "is-warning"}
_EXEMPTIONS: Final = {"exempt": "Tax exempt", "reverse": "Reverse charge"}


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldRow:
    """One field on both sides. `can_decide`: a person changed it at Stripe, and somebody has to say what holds."""

    field: str
    label: str
    ours: str
    theirs: str
    verdict: str
    tone: str
    note: str
    can_decide: bool
    is_kept: bool
    can_be_written: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class TaxIdRow:
    """A tax id at Stripe, what its register said, and whose it is if it is not the account's present one."""

    text: str
    status: str
    tone: str
    origin: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CustomerPage:
    """The panel *At Stripe*. `reason` says why there is nothing to show, if so."""

    account: Account
    customer_id: str
    stripe_url: str
    reason: str
    payer: Account | None
    state: str
    tone: str
    is_waiting: bool
    error: str
    read_at: datetime | None
    synced_at: datetime | None
    fields: tuple[FieldRow, ...]
    tax_ids: tuple[TaxIdRow, ...]
    exemption: str
    has_payment_method: bool | None


def build_customer_page(account: Account) -> CustomerPage:
    """The account beside what Stripe had when it was last read."""
    row = CustomerSync.objects.select_related("account").filter(account=account).first()
    customer_id = account.stripe_customer_id or ""
    payer = get_billing_account(account)
    state = SyncState(row.state) if row else SyncState.PENDING
    order = compare_row(row, account) if row else None
    found = row.found if row else {}
    return CustomerPage(
        account=account,
        customer_id=customer_id,
        stripe_url=_make_url(customer_id),
        reason="" if row else _explain(account, payer),
        payer=payer if payer != account else None,
        state=str(state.label),
        tone=_STATE_TONES.get(state, ""),
        is_waiting=bool(row and is_due(row)),
        error=row.error if row else "",
        read_at=row.read_at if row else None,
        synced_at=row.synced_at if row else None,
        fields=tuple(_build_fields(row, account, order)) if row and order else (),
        tax_ids=tuple(_build_tax_ids(row, account)) if row else (),
        exemption=_EXEMPTIONS.get(found.get("tax_exempt", ""), ""),
        has_payment_method=found.get("has_payment_method"),
    )


def _explain(account: Account, payer: Account) -> str:
    if payer != account:
        return "It bills through its payer and has no customer of its own."
    if account.stripe_customer_id:
        return "Its customer is known from the old service and left alone until its cohort is provisioned."
    return "It is not provisioned: nothing of it is at Stripe."


def _build_fields(row: CustomerSync, account: Account, order: Order) -> list[FieldRow]:
    wanted, held = build_wanted(account), row.held
    assert held is not None
    rows = []
    for field in FIELDS:
        verdict = order.verdicts[field]
        theirs = describe_held(held.tax_ids) if field == TAX_ID else held.values[field]
        rows.append(
            FieldRow(
                field=field,
                label=name_field(field),
                ours=describe_value(wanted[field]),
                theirs=describe_value(theirs),
                verdict=verdict.value,
                tone=_TONES.get(verdict, ""),
                note=row.refused[field]["reason"] if verdict is Verdict.REFUSED else "",
                can_decide=verdict in (Verdict.THEIRS, Verdict.KEPT),
                is_kept=verdict is Verdict.KEPT,
                can_be_written=bool(wanted[field]),
            )
        )
    return rows


def _build_tax_ids(row: CustomerSync, account: Account) -> list[TaxIdRow]:
    held, wanted = row.held, build_wanted(account)[TAX_ID]
    return [
        TaxIdRow(
            text=describe_value(tax_id.describe()),
            status=tax_id.status,
            tone=_STATUS_TONES.get(tax_id.status, ""),
            origin=_name_origin(row, tax_id, wanted),
        )
        for tax_id in (held.tax_ids if held else ())
    ]


def _name_origin(row: CustomerSync, tax_id: HeldTaxId, wanted: dict[str, str] | None) -> str:
    if is_same_tax_id(tax_id.describe(), wanted):
        return ""
    if is_our_tax_id(tax_id, row.memory):
        return "the account's from before: goes when the new one is taken"
    return "not from here: left as it is"


def _make_url(customer_id: str) -> str:
    """The customer in Stripe's dashboard; empty where Stripe is only stood in for."""
    if not customer_id or settings.ENV.uses_sandbox:
        return ""
    mode = "" if settings.ENV.has_live_key else "test/"
    return f"https://dashboard.stripe.com/{mode}customers/{customer_id}"
