"""Single objects as Stripe's own JSON, for the mirror that keeps them raw."""

from __future__ import annotations

from typing import Any

from billing_worker.gateway.transport import call, make_path

_FOLDERS = {
    "customer": "customers",
    "product": "products",
    "price": "prices",
    "subscription": "subscriptions",
    "invoice": "invoices",
    "credit_note": "credit_notes",
}


def read_payload(*, kind: str, id: str) -> dict[str, Any]:
    """The object as Stripe holds it now; `kind` is Stripe's name for it (`customer`, `invoice`, ...).

    Raises:
        GatewayNotFound: it does not exist.
        KeyError: a kind that the mirror does not keep.
    """
    return call("get", make_path(_FOLDERS[kind], id))
