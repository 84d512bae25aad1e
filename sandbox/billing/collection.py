"""Getting a finalized invoice paid: attempts, retries, and what they mean for the subscription."""

from __future__ import annotations

import os

from sandbox.billing import due
from sandbox.billing.balance import post_to_balance
from sandbox.billing.diff import snapshot
from sandbox.billing.finalization import finalize
from sandbox.billing.invoicing import change_invoice, save_invoice
from sandbox.billing.subscription_record import ENDED, change_subscription, set_status
from sandbox.engine.context import Context
from sandbox.engine.errors import JsonObject, StripeError

DAY = 86_400
# Days from one failed attempt to the next; Stripe's non-smart default schedule.
RETRY_DAYS = (3, 5, 7)
# What becomes of a subscription when the last retry has failed: canceled, unpaid or past_due (an account's setting).
AFTER_LAST_RETRY = os.environ.get("SANDBOX_AFTER_LAST_RETRY", "canceled")
MANUAL_COLLECTION_SECONDS = 3_600


@due.due_work("invoice")
def advance_invoice(ctx: Context, invoice: JsonObject, at: int) -> None:
    """Do what an invoice waits for: finalize a draft, try a payment again, notice that the due date has passed."""
    if invoice["status"] == "draft":
        finalize_and_collect(ctx, invoice, at)
    elif invoice["status"] == "open" and invoice["collection_method"] == "send_invoice":
        _notice_overdue(ctx, invoice)
    elif invoice["status"] == "open":
        attempt_payment(ctx, invoice, at, automatic=True)


def finalize_and_collect(ctx: Context, invoice: JsonObject, at: int) -> JsonObject:
    """Finalize a draft and go on as Stripe does for automatic invoices: charge, or send."""
    finalize(ctx, invoice, at)
    paused = _paused_behavior(ctx, invoice)
    if paused == "void":
        return void_invoice(ctx, invoice, at)
    if paused == "mark_uncollectible":
        return mark_uncollectible(ctx, invoice, at)
    if settle_if_nothing_due(ctx, invoice, at):
        return invoice
    if invoice["collection_method"] == "send_invoice":
        ctx.emit("invoice.sent", invoice)
        save_invoice(ctx, invoice)
        return invoice
    attempt_payment(ctx, invoice, at, automatic=True)
    return invoice


def settle_if_nothing_due(ctx: Context, invoice: JsonObject, at: int) -> bool:
    """Mark an open invoice paid where nothing is left to collect. Says whether it was."""
    if invoice["amount_remaining"] > 0:
        return False
    mark_paid(ctx, invoice, at, amount=0)
    return True


def wait_for_collection(ctx: Context, invoice: JsonObject, at: int) -> None:
    """Let an invoice that was finalized by hand be charged an hour later, if it advances by itself."""
    if invoice["auto_advance"] and invoice["collection_method"] == "charge_automatically":
        invoice["next_payment_attempt"] = at + MANUAL_COLLECTION_SECONDS
    save_invoice(ctx, invoice)


def payment_method_for(ctx: Context, invoice: JsonObject) -> str | None:
    """The payment method an invoice is charged to: its own, the subscription's, then the customer's default."""
    subscription = ctx.store.get("subscription", invoice.get("_subscription") or "") or {}
    customer = ctx.store.get("customer", invoice["customer"]) or {}
    for holder in (invoice, subscription, customer.get("invoice_settings") or {}):
        for field in ("default_payment_method", "default_source"):
            if holder.get(field):
                chosen: str = holder[field]
                return chosen
    source: str | None = customer.get("default_source")
    return source


def attempt_payment(
    ctx: Context, invoice: JsonObject, at: int, *, automatic: bool, payment_method: str | None = None
) -> StripeError | None:
    """Charge what remains of an open invoice. Returns the error of a failed attempt, None once it is paid."""
    method = payment_method or payment_method_for(ctx, invoice)
    error: StripeError | None = NO_PAYMENT_METHOD
    intent: JsonObject | None = None
    if method is not None:
        intent, error = _charge(ctx, invoice, method, automatic=automatic)
        if intent is not None:
            _record_payment(ctx, invoice, intent, at, paid=error is None)
    before = snapshot(invoice)
    invoice["attempted"] = True
    if automatic or invoice["attempt_count"] == 0:
        invoice["attempt_count"] += 1
    if error is None:
        mark_paid(ctx, invoice, at, amount=invoice["amount_remaining"], before=before)
        return None
    _note_failure(ctx, invoice, before, at)
    return error


NO_PAYMENT_METHOD = StripeError(
    400,
    "This customer has no attached payment source or default payment method. Please consider adding a default "
    "payment method. For more information, visit https://stripe.com/docs/billing/subscriptions/payment-methods-setting"
    "#payment-method-priority.",
    code="resource_missing",
)


def _charge(
    ctx: Context, invoice: JsonObject, method: str, *, automatic: bool
) -> tuple[JsonObject | None, StripeError | None]:
    """Charge, by the invoice's open payment intent if there is one. An automatic attempt takes a refusal as outcome."""
    from sandbox.resources.payments import (
        charge_customer,
        retry_payment,
    )  # resources import billing, so not above

    amount, currency = invoice["amount_remaining"], invoice["currency"]
    known = ctx.store.find("invoice_payment", "invoice", invoice["id"])
    open_ids = [row["payment"]["payment_intent"] for row in known if row["status"] == "open"]
    intent = ctx.store.get("payment_intent", open_ids[-1]) if open_ids else None
    try:
        if intent is not None and intent["amount"] == amount:
            return retry_payment(ctx, intent, method)
        return charge_customer(ctx, invoice["customer"], amount, currency, invoice["id"], method)
    except StripeError as refusal:
        if not automatic:
            raise
        return None, refusal


def open_intent(ctx: Context, invoice: JsonObject, at: int) -> None:
    """Make the payment intent that the customer is to confirm; `confirmation_secret` of the invoice hands it out."""
    from sandbox.resources.payment_intents import new_intent

    intent = new_intent(ctx, invoice["amount_remaining"], invoice["currency"], invoice["customer"])
    intent |= {"description": "Payment for Invoice", "_invoice": invoice["id"]}
    ctx.store.put("payment_intent", intent)
    ctx.emit("payment_intent.created", intent)
    _record_payment(ctx, invoice, intent, at, paid=False)


def settle_by_intent(ctx: Context, intent: JsonObject) -> None:
    """Mark the invoice paid whose payment intent a client has confirmed; other intents are none of its business."""
    invoice = ctx.store.get("invoice", intent.get("_invoice") or "")
    if invoice is None or invoice["status"] != "open" or intent["status"] != "succeeded":
        return
    at = ctx.now_for(invoice["customer"])
    before = snapshot(invoice)
    invoice["attempt_count"] = max(invoice["attempt_count"], 1)
    _record_payment(ctx, invoice, intent, at, paid=True)
    mark_paid(ctx, invoice, at, amount=invoice["amount_remaining"], before=before)


def _record_payment(ctx: Context, invoice: JsonObject, intent: JsonObject, at: int, *, paid: bool) -> None:
    known = ctx.store.find("invoice_payment", "invoice", invoice["id"])
    payment = next((row for row in known if row["payment"].get("payment_intent") == intent["id"]), None) or {
        "id": ctx.store.new_id("inpay"),
        "object": "invoice_payment",
        "created": at,
        "currency": invoice["currency"],
        "invoice": invoice["id"],
        "is_default": True,
        "livemode": False,
        "payment": {"type": "payment_intent", "payment_intent": intent["id"]},
    }
    for other in known:
        if other["id"] != payment["id"] and other["is_default"]:
            ctx.store.put("invoice_payment", {**other, "is_default": False})
    payment = {
        **payment,
        "amount_paid": invoice["amount_remaining"] if paid else None,
        "amount_requested": invoice["amount_remaining"],
        "status": "paid" if paid else "open",
        "status_transitions": {"canceled_at": None, "paid_at": at if paid else None},
    }
    ctx.store.put("invoice_payment", payment)
    if paid:
        ctx.emit("invoice_payment.paid", payment, at=at)


def mark_paid(
    ctx: Context, invoice: JsonObject, at: int, *, amount: int, before: JsonObject | None = None
) -> JsonObject:
    """Record that `amount` minor units were collected and nothing remains; the subscription recovers with it."""
    before = before or snapshot(invoice)
    invoice["amount_paid"] += amount
    invoice["amount_remaining"] = 0
    invoice["attempted"] = True
    invoice["next_payment_attempt"] = None
    invoice["status"] = "paid"
    invoice["status_transitions"] = {**invoice["status_transitions"], "paid_at": at}
    change_invoice(ctx, invoice, before)
    ctx.emit("invoice.paid", invoice)
    ctx.emit("invoice.payment_succeeded", invoice)
    subscription = ctx.store.get("subscription", invoice.get("_subscription") or "")
    waiting = subscription is not None and subscription["status"] in ("incomplete", "past_due", "unpaid")
    if subscription is not None and waiting and not _owes(ctx, subscription):
        set_status(ctx, subscription, "trialing" if _on_trial(subscription, at) else "active")
    return invoice


def _owes(ctx: Context, subscription: JsonObject) -> bool:
    invoices = ctx.store.find("invoice", "_subscription", subscription["id"])
    return any(invoice["status"] == "open" and invoice["attempted"] for invoice in invoices)


def _on_trial(subscription: JsonObject, at: int) -> bool:
    return subscription["trial_end"] is not None and at < subscription["trial_end"]


def _note_failure(ctx: Context, invoice: JsonObject, before: JsonObject, at: int) -> None:
    retries_done = invoice["attempt_count"] - 1
    last = retries_done >= len(RETRY_DAYS)
    first_of_subscription = invoice["billing_reason"] == "subscription_create"
    retry = invoice["auto_advance"] and not last and not first_of_subscription
    invoice["next_payment_attempt"] = at + RETRY_DAYS[retries_done] * DAY if retry else None
    change_invoice(ctx, invoice, before)
    ctx.emit("invoice.payment_failed", invoice)
    subscription = ctx.store.get("subscription", invoice.get("_subscription") or "")
    if subscription is None or subscription["status"] in ENDED or subscription["status"] == "incomplete":
        return
    if not last:
        set_status(ctx, subscription, "past_due")
    elif AFTER_LAST_RETRY == "canceled":
        end_subscription(ctx, subscription, at, reason="payment_failed")
    else:
        set_status(ctx, subscription, AFTER_LAST_RETRY)


def end_subscription(
    ctx: Context, subscription: JsonObject, at: int, *, reason: str, status: str = "canceled"
) -> None:
    """Put a subscription at its end; no invoice is made here."""
    before = snapshot(subscription)
    subscription["status"] = status
    subscription["ended_at"] = at
    subscription["canceled_at"] = subscription["canceled_at"] or at
    details = subscription["cancellation_details"] or {"comment": None, "feedback": None}
    subscription["cancellation_details"] = {**details, "reason": details.get("reason") or reason}
    if status != "canceled":
        change_subscription(ctx, subscription, before)
        return
    from sandbox.billing.subscription_record import save_subscription

    save_subscription(ctx, subscription)
    ctx.emit("customer.subscription.deleted", subscription)


def _notice_overdue(ctx: Context, invoice: JsonObject) -> None:
    invoice["_overdue"] = True
    save_invoice(ctx, invoice)
    ctx.emit("invoice.overdue", invoice)
    subscription = ctx.store.get("subscription", invoice.get("_subscription") or "")
    if subscription is not None and subscription["status"] == "active":
        set_status(ctx, subscription, "past_due")


def _paused_behavior(ctx: Context, invoice: JsonObject) -> str | None:
    subscription = ctx.store.get("subscription", invoice.get("_subscription") or "")
    pause = (subscription or {}).get("pause_collection")
    behavior: str | None = pause["behavior"] if pause else None
    return behavior


def void_invoice(ctx: Context, invoice: JsonObject, at: int) -> JsonObject:
    """Void an open or uncollectible invoice; the balance it used up or left behind goes back.

    Raises:
        StripeError: 400, the invoice is a draft, paid or void.
    """
    if invoice["status"] not in ("open", "uncollectible"):
        raise StripeError(
            400, f"You can only pass in open invoices. This invoice isn't open; it is {invoice['status']}."
        )
    before = snapshot(invoice)
    change = (invoice["ending_balance"] or 0) - invoice["starting_balance"]
    if change:
        post_to_balance(
            ctx, invoice["customer"], -change, invoice["currency"],
            type="unapplied_from_invoice", at=at, invoice=invoice["id"],
        )  # fmt: skip
    invoice["status"] = "void"
    invoice["next_payment_attempt"] = None
    invoice["status_transitions"] = {**invoice["status_transitions"], "voided_at": at}
    change_invoice(ctx, invoice, before)
    ctx.emit("invoice.voided", invoice)
    _recover(ctx, invoice)
    return invoice


def mark_uncollectible(ctx: Context, invoice: JsonObject, at: int) -> JsonObject:
    """Write an open invoice off; it can still be paid or voided.

    Raises:
        StripeError: 400, the invoice isn't open.
    """
    if invoice["status"] != "open":
        raise StripeError(
            400, f"You can only mark an open invoice as uncollectible; this one is {invoice['status']}."
        )
    before = snapshot(invoice)
    invoice["status"] = "uncollectible"
    invoice["next_payment_attempt"] = None
    invoice["status_transitions"] = {**invoice["status_transitions"], "marked_uncollectible_at": at}
    change_invoice(ctx, invoice, before)
    ctx.emit("invoice.marked_uncollectible", invoice)
    _recover(ctx, invoice)
    return invoice


def _recover(ctx: Context, invoice: JsonObject) -> None:
    """A written-off first invoice keeps nobody past due."""
    subscription = ctx.store.get("subscription", invoice.get("_subscription") or "")
    if subscription is not None and subscription["status"] == "past_due" and not _owes(ctx, subscription):
        set_status(ctx, subscription, "active")
