"""Credit notes: what is taken back from a finalized invoice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from billing_worker.gateway.parsing import parse_credit_note
from billing_worker.gateway.transport import call, iterate, make_path
from billing_worker.gateway.types import CreditNote, CreditNoteLineSpec

if TYPE_CHECKING:
    from stripe.params import CreditNoteCreateParams, CreditNoteListParams


def create_credit_note(
    *,
    invoice: str,
    lines: Sequence[CreditNoteLineSpec],
    memo: str,
    metadata: Mapping[str, str],
    credit_to_balance_minor: int = 0,
    idempotency_key: str,
) -> CreditNote:
    """Take back parts of a finalized invoice's lines. Stripe sends no mail about it: mails are ours.

    What is still due is reduced first; `credit_to_balance_minor` (with tax) is what of the total was paid already and
    goes to the customer's balance, which pays the next invoice.

    Raises:
        GatewayRejected: the invoice can't be credited so far, or the parts don't add up; nothing was made.
    """
    params: CreditNoteCreateParams = {
        "invoice": invoice,
        "lines": [
            {
                "type": "invoice_line_item",
                "invoice_line_item": line.invoice_line,
                "amount": line.amount_minor,
                "metadata": dict(line.metadata),
            }
            for line in lines
        ],
        "memo": memo,
        "metadata": dict(metadata),
        "email_type": "none",
    }
    if credit_to_balance_minor:
        params["credit_amount"] = credit_to_balance_minor
    return _complete(call("post", make_path("credit_notes"), params, idempotency_key=idempotency_key))


def list_credit_notes(invoice: str) -> list[CreditNote]:
    """The credit notes of an invoice with all of their lines, void ones included, newest first."""
    params: CreditNoteListParams = {"invoice": invoice}
    return [_complete(payload) for payload in iterate(make_path("credit_notes"), params)]


def get_credit_note(credit_note: str) -> CreditNote:
    """A credit note with all of its lines, however many pages they take.

    Raises:
        GatewayNotFound: no such credit note.
    """
    return _complete(call("get", make_path("credit_notes", credit_note)))


def _complete(payload: dict[str, Any]) -> CreditNote:
    """Parse a credit note and fetch the lines that its first page left out."""
    if not (payload.get("lines") or {}).get("has_more"):
        return parse_credit_note(payload)
    return parse_credit_note(payload, lines=list(iterate(make_path("credit_notes", payload["id"], "lines"))))
