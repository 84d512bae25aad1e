"""What must hold when the month is over: each check compares what came out with what was put in."""

from __future__ import annotations

import email
import email.policy
import hashlib
import io
import time
from collections import Counter
from email.message import EmailMessage
from typing import TYPE_CHECKING, Any, Final

import requests

from billing_worker.demo.place import FOLDER, DemoError

if TYPE_CHECKING:
    from billing_worker.demo.story import Scene

#: What the old service calls a planted difference, and the cause that reconciliation must find for it.
CAUSES: Final = {
    "managed_amount": "job_amount_differs",
    "managed_missing": "job_missing_in_legacy",
    "usage_restated": "quantity_differs",
    "managed_twice": "job_billed_again",
    "rate_edited": "rate_differs",
    "custom_line": "custom_line",
    "invoice_duplicate": "duplicate_in_legacy",
    "invoice_missing": "missing_in_legacy",
}


def check_everything(scene: Scene) -> None:
    """Every check that looks at the whole; those of single steps were made on the way."""
    _check_catalog(scene)
    _check_meters(scene)
    _check_webhooks(scene)
    _check_holds(scene)
    _check_invoices(scene)
    _check_drift(scene)
    _check_cohorts(scene)


def _check_catalog(scene: Scene) -> None:
    from django.core.management import call_command

    try:
        call_command("catalog_plan", "--check", "--at", f"{scene.place.period}-01", stdout=io.StringIO())
        found = "nothing to change"
    except SystemExit:
        found = "changes"
    scene.tell.check("Catalog planned again after it was applied", expected="nothing to change", found=found)


def _check_meters(scene: Scene) -> None:
    """The sandbox's own totals per customer and meter against the figures that were posted."""
    from billing_worker import gateway
    from billing_worker.accounts.models import Account
    from billing_worker.accounts.selectors import get_billing_account
    from billing_worker.catalog.models import CatalogMeter
    from billing_worker.core.periods import Period

    period = Period.parse(scene.place.period)
    accounts = {account.pk: account for account in Account.objects.select_related("parent")}
    posted: Counter[tuple[str, str]] = Counter()
    for record in scene.usage:
        account = accounts[int(record["account_id"])]
        customer = get_billing_account(account).stripe_customer_id
        if customer and account.status == "active" and record["quantity"]:
            posted[customer, record["usage_type"]] += record["quantity"]
    meters = {meter.usage_type: meter.stripe_meter_id for meter in CatalogMeter.objects.all()}
    at_stripe = {
        key: sum(
            summary.value
            for summary in gateway.list_meter_event_summaries(
                meter=meters[key[1]], customer=key[0], start_at=period.start_at, end_at=period.end_at
            )
        )
        for key in posted
    }
    apart = [key for key, total in posted.items() if at_stripe[key] != total]
    scene.tell.check(
        "Customers and meters whose totals at Stripe differ from ours", expected=0, found=len(apart)
    )
    scene.tell.check(
        "Impressions at Stripe", expected=sum(posted.values()), found=int(sum(at_stripe.values()))
    )


def _check_webhooks(scene: Scene) -> None:
    from billing_worker.webhooks.models import InboxEvent

    pending = wait_for_deliveries(scene, timeout=300)
    scene.tell.check("Webhooks that the sandbox could not deliver", expected=0, found=pending)
    states = Counter(InboxEvent.objects.values_list("state", flat=True))
    scene.tell.check(
        "Webhooks not processed", expected=0, found=states.total() - states["processed"] - states["ignored"]
    )


def wait_for_deliveries(scene: Scene, *, timeout: float) -> int:
    """How many webhooks are still to be delivered, after waiting for none at most `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while True:
        answer = requests.get(
            f"{scene.sandbox_url}/_sandbox/deliveries", params={"state": "pending"}, timeout=60
        )
        left = len(answer.json()["data"])
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(0.2)


def _check_holds(scene: Scene) -> None:
    """One draft waited for its usage and was let go; for all others Stripe was not called at all."""
    from metering.models import DraftHold

    states = Counter(DraftHold.objects.filter(period=scene.place.period).values_list("state", flat=True))
    held = states.total() - states["not_needed"]
    scene.tell.check("Drafts of the month that had to be held", expected=1, found=held)
    scene.tell.check("Held drafts let go as complete", expected=1, found=states["released"])


def _check_invoices(scene: Scene) -> None:
    """One PDF and mail for each finalized invoice, payment and credit note, the mailed bytes being the stored ones."""
    from billing_worker.mirror.models import StripeCreditNote, StripeInvoice
    from invoices.models import InvoiceDocument

    invoices = StripeInvoice.objects.filter(status__in=["open", "paid"]).count()
    paid = StripeInvoice.objects.filter(status="paid", amount_paid_minor__gt=0).count()
    credited = StripeCreditNote.objects.filter(status="issued").count()
    papers = invoices + paid + credited
    stored = {
        hashlib.sha256(path.read_bytes()).hexdigest(): path for path in (FOLDER / "invoices").rglob("*.pdf")
    }
    messages = [_read_mail(path.read_bytes()) for path in sorted((FOLDER / "mail").rglob("*.eml"))]
    attached = Counter(
        hashlib.sha256(part.get_payload(decode=True)).hexdigest()  # type: ignore[arg-type]
        for message in messages
        for part in message.iter_attachments()
        if part.get_content_type() == "application/pdf"
    )
    receipts = InvoiceDocument.objects.filter(kind="receipt", state="stored").count()
    scene.tell.check("Receipts, one for each invoice that was paid", expected=paid, found=receipts)
    notes = InvoiceDocument.objects.filter(kind="credit_note", state="stored").count()
    scene.tell.check("Credit notes printed, of the one that was made", expected=1, found=notes)
    scene.tell.check(
        "PDFs stored, one for each invoice, receipt and credit note", expected=papers, found=len(stored)
    )
    scene.tell.check("Mails sent, one for each", expected=papers, found=len(messages))
    same = sum(1 for digest in stored if attached[digest] == 1)
    scene.tell.check("Mails that carry the stored PDF, once", expected=len(stored), found=same)
    copied = sum(
        "crm@billing.example.com" in (message["Bcc"] or message["X-Bcc"] or "") for message in messages
    )
    scene.tell.check("Mails with a blind copy to the CRM", expected=len(messages), found=copied)


def _read_mail(raw: bytes) -> EmailMessage:
    message = email.message_from_bytes(raw, policy=email.policy.default)
    if not isinstance(message, EmailMessage):
        raise DemoError("a file under var/demo/mail is not a mail")
    return message


def _check_drift(scene: Scene) -> None:
    for name in ("cohort-1", "cohort-2"):
        result = scene.reconciled[name]
        apart = sum(abs(row["difference_minor"]) for row in result["results"])
        checked = result["accounts_checked"]
        scene.tell.check(f"Drift of {name} in minor units, {checked} payers", expected=0, found=apart)
        scene.tell.check(f"Differences found in {name}", expected=0, found=len(result["drifts"]))
    planted = {(item["acct_id"], CAUSES[item["kind"]], -item["difference_minor"]) for item in scene.planted}
    found = {
        (drift["account_id"], drift["cause"], drift["difference_minor"])
        for drift in scene.reconciled["cohort-3"]["drifts"]
    }
    scene.tell.check(
        "Planted differences found in cohort-3, cause and cent",
        expected=len(planted),
        found=len(planted & found),
    )
    scene.tell.check(
        "Other differences in cohort-3", expected="none", found=_list_differences(found - planted)
    )


def _list_differences(differences: set[tuple[int, str, int]]) -> str:
    return "; ".join(f"{account} {cause} {minor}" for account, cause, minor in sorted(differences)) or "none"


def _check_cohorts(scene: Scene) -> None:
    for name in ("cohort-1", "cohort-2"):
        page = scene.pages[name]
        state = "Migrated" if 'is-migrated">Migrated<' in page else "not migrated"
        scene.tell.check(f"The page of {name} says", expected="Migrated", found=state)


def gather_facts(scene: Scene) -> dict[str, Any]:
    """Figures of the run for the report."""
    from billing_worker.accounts.models import Account
    from billing_worker.mirror.models import StripeInvoice
    from billing_worker.webhooks.models import InboxEvent
    from metering.models import MeterEvent

    totals: Counter[str] = Counter()
    for currency, amount in StripeInvoice.objects.filter(status__in=["open", "paid"]).values_list(
        "currency", "total_minor"
    ):
        totals[currency] += amount
    return {
        "period": scene.place.period,
        "seed": scene.place.seed,
        "accounts": Account.objects.count(),
        "webhooks": InboxEvent.objects.count(),
        "meter_events": MeterEvent.objects.count(),
        "invoices": StripeInvoice.objects.count(),
        "invoiced_minor": dict(sorted(totals.items())),
        "drifts": scene.reconciled["cohort-3"]["drifts"],
    }
