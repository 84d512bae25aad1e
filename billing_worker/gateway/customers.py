"""Customers and how they pay."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from billing_worker.gateway.parsing import parse_customer
from billing_worker.gateway.transport import call, make_path
from billing_worker.gateway.types import Address, Customer, TaxId

if TYPE_CHECKING:
    from stripe.params import CustomerCreateParams, CustomerUpdateParams, PaymentMethodAttachParams


def create_customer(
    *,
    name: str,
    email: str,
    address: Address | None,
    metadata: Mapping[str, str],
    test_clock: str | None = None,
    payment_method: str | None = None,
    preferred_locales: Sequence[str] = (),
    tax_ids: Sequence[TaxId] = (),
    idempotency_key: str,
) -> Customer:
    """Create a customer. `payment_method` (like `pm_card_visa`) becomes the default for invoices.

    Raises:
        GatewayError: see the subclasses; safe to repeat with the same idempotency key.
    """
    params: CustomerCreateParams = {"name": name, "metadata": dict(metadata)}
    if email:
        params["email"] = email
    if address is not None:
        params["address"] = {  # type: ignore[typeddict-item]
            name: value for name, value in asdict(address).items() if value
        }
    if test_clock:
        params["test_clock"] = test_clock
    if payment_method:
        params["payment_method"] = payment_method
        params["invoice_settings"] = {"default_payment_method": payment_method}
    if preferred_locales:
        params["preferred_locales"] = list(preferred_locales)
    if tax_ids:
        params["tax_id_data"] = [{"type": tax_id.type, "value": tax_id.value} for tax_id in tax_ids]
    return parse_customer(call("post", make_path("customers"), params, idempotency_key=idempotency_key))


def get_customer(customer: str) -> Customer:
    """Raises: GatewayNotFound: no such customer. A deleted one is returned with `is_deleted`."""
    return parse_customer(call("get", make_path("customers", customer)))


def update_customer(
    customer: str,
    *,
    name: str | None = None,
    email: str | None = None,
    address: Address | None = None,
    metadata: Mapping[str, str] | None = None,
) -> Customer:
    """Change what is given, leave the rest. A metadata key with an empty value is removed."""
    params: CustomerUpdateParams = {}
    if name is not None:
        params["name"] = name
    if email is not None:
        params["email"] = email
    if address is not None:
        params["address"] = asdict(address)  # type: ignore[typeddict-item]
    if metadata is not None:
        params["metadata"] = dict(metadata)
    return parse_customer(call("post", make_path("customers", customer), params))


def attach_payment_method(*, customer: str, payment_method: str) -> Customer:
    """Attach a payment method and make it the default for the customer's invoices.

    Raises:
        PaymentDeclined: the bank refused to verify it.
    """
    attach: PaymentMethodAttachParams = {"customer": customer}
    attached = call("post", make_path("payment_methods", payment_method, "attach"), attach)
    params: CustomerUpdateParams = {"invoice_settings": {"default_payment_method": attached["id"]}}
    return parse_customer(call("post", make_path("customers", customer), params))
