"""What Stripe tells about customers: noted when it is about something we follow, and looked at by a worker."""

from __future__ import annotations

from typing import Final

from billing_worker import gateway
from billing_worker.customers.models import CustomerSync
from billing_worker.customers.services import note_customer
from billing_worker.customers.wanted import describe_customer
from billing_worker.webhooks.registry import StripeEvent, receives

#: Customers change with every invoice (balance, numbers); these are the fields that are compared or shown.
_WATCHED: Final = frozenset(
    {"name", "email", "address", "preferred_locales", "metadata", "tax_exempt", "invoice_settings"}
)


@receives("customer.updated", "customer.deleted")
def on_customer(event: StripeEvent) -> None:
    """Somebody changed a followed customer, or deleted it. What we wrote ourselves, and have read, is no news."""
    if event.type == "customer.updated" and not _WATCHED & event.previous_attributes.keys():
        return
    row = _find_row(event.customer)
    if row is None:
        return
    if event.type == "customer.updated" and _is_known(row, event):
        return
    note_customer(row_id=row.pk, account_id=row.account_id, now=event.now)


@receives("customer.tax_id.created", "customer.tax_id.updated", "customer.tax_id.deleted")
def on_tax_id(event: StripeEvent) -> None:
    """A followed customer has another tax id, or a register has said something about one."""
    row = _find_row(event.customer)
    if row is None:
        return
    known = {one["id"]: one["status"] for one in row.found.get("tax_ids", ())}
    tax_id = gateway.parse_tax_id(event.object)
    is_known = tax_id.id in known
    is_news = {
        "customer.tax_id.created": not is_known,
        "customer.tax_id.updated": known.get(tax_id.id) != tax_id.status,
        "customer.tax_id.deleted": is_known,
    }
    if not is_news[event.type]:
        return
    note_customer(row_id=row.pk, account_id=row.account_id, now=event.now)


def _find_row(customer: str | None) -> CustomerSync | None:
    if not customer:
        return None
    return CustomerSync.objects.filter(account__stripe_customer_id=customer).first()


def _is_known(row: CustomerSync, event: StripeEvent) -> bool:
    """Whether the event shows the customer as it was last read. Its tax ids have events of their own."""
    customer = gateway.parse_customer(event.object)
    found = row.found
    return bool(found) and (
        dict(describe_customer(customer).values) == found["values"]
        and customer.tax_exempt == found["tax_exempt"]
        and (customer.default_payment_method is not None) == found["has_payment_method"]
        and customer.metadata.get("account_id") == str(row.account_id)
    )
