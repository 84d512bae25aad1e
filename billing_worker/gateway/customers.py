"""Customers and how they pay."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, cast

from billing_worker.gateway.parsing import parse_customer, parse_tax_id
from billing_worker.gateway.transport import call, iterate, make_path
from billing_worker.gateway.types import Address, Customer, CustomerTaxId, TaxId

if TYPE_CHECKING:
    from stripe.params import (
        CustomerCreateParams,
        CustomerCreateTaxIdParams,
        CustomerUpdateParams,
        CustomerUpdateParamsAddress,
        PaymentMethodAttachParams,
    )


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
        params["address"] = _describe_lines(address)
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


def _describe_lines(address: Address) -> CustomerUpdateParamsAddress:
    lines = {name: line for name, line in asdict(address).items() if line}
    return cast("CustomerUpdateParamsAddress", lines)


def get_customer(customer: str, *, with_tax_ids: bool = False) -> Customer:
    """A customer as it is now; its tax ids only if asked for. A deleted one is returned with `is_deleted`.

    Raises:
        GatewayNotFound: no such customer.
    """
    if not with_tax_ids:
        return parse_customer(call("get", make_path("customers", customer)))
    payload = call("get", make_path("customers", customer), {"expand": ["tax_ids"]})
    page = payload.get("tax_ids") or {"data": [], "has_more": False}
    tax_ids = iterate(make_path("customers", customer, "tax_ids")) if page["has_more"] else page["data"]
    return parse_customer(payload, tax_ids=tax_ids)


def update_customer(
    customer: str,
    *,
    name: str | None = None,
    email: str | None = None,
    address: Address | None = None,
    preferred_locales: Sequence[str] | None = None,
    metadata: Mapping[str, str] | None = None,
    idempotency_key: str | None = None,
) -> Customer:
    """Change what is given, leave the rest. An empty address is removed, as is a metadata key with an empty value.

    Lines that an address lacks are not sent, because Stripe unsets an address as a whole only: see in the answer
    whether old ones stayed. An e-mail can't be unset once there is one.

    Raises:
        GatewayRejected: Stripe takes one of the values not; `param` says which.
    """
    params: CustomerUpdateParams = {}
    if name is not None:
        params["name"] = name
    if email is not None:
        params["email"] = email
    if address is not None:
        params["address"] = _describe_lines(address) or ""
    if preferred_locales is not None:
        params["preferred_locales"] = list(preferred_locales)
    if metadata is not None:
        params["metadata"] = dict(metadata)
    path = make_path("customers", customer)
    return parse_customer(call("post", path, params, idempotency_key=idempotency_key))


def create_tax_id(customer: str, *, type: str, value: str, idempotency_key: str) -> CustomerTaxId:
    """Give a customer a tax id. Stripe never changes one: another value is another object.

    Raises:
        GatewayRejected: `stripe_code` is `tax_id_invalid` where the value has not the form of its kind.
    """
    params = cast("CustomerCreateTaxIdParams", {"type": type, "value": value})
    path = make_path("customers", customer, "tax_ids")
    return parse_tax_id(call("post", path, params, idempotency_key=idempotency_key))


def delete_tax_id(customer: str, tax_id: str) -> None:
    """Take a tax id away; invoices that are finalized keep it.

    Raises:
        GatewayNotFound: it is gone already.
    """
    call("delete", make_path("customers", customer, "tax_ids", tax_id))


def attach_payment_method(*, customer: str, payment_method: str) -> Customer:
    """Attach a payment method and make it the default for the customer's invoices.

    Raises:
        PaymentDeclined: the bank refused to verify it.
    """
    attach: PaymentMethodAttachParams = {"customer": customer}
    attached = call("post", make_path("payment_methods", payment_method, "attach"), attach)
    params: CustomerUpdateParams = {"invoice_settings": {"default_payment_method": attached["id"]}}
    return parse_customer(call("post", make_path("customers", customer), params))
