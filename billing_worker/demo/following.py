"""After the month: an account changes its language and its tax id, and its customer at Stripe follows."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from billing_worker.demo.story import Scene

#: Seconds that the worker has to hear of the change and write it; it takes a fraction of one.
PATIENCE_SECONDS: Final = 60
LOCALE: Final = "de_CH"
#: A number that Stripe's test mode verifies.
TAX_ID: Final = "DE000000000"


def change_language(scene: Scene) -> str:
    """Change what the documents of one account in Germany say, as finance would in the console."""
    from django.utils import timezone

    from billing_worker import gateway
    from billing_worker.accounts.models import Account
    from billing_worker.accounts.services import change_document_settings

    account = (
        Account.objects.filter(address_country="DE", stripe_customer_id__isnull=False).order_by("pk").first()
    )
    if account is None:
        return "no account in Germany"
    change_document_settings(
        account_id=account.pk,
        locale=LOCALE,
        invoice_format=account.invoice_format,
        tax_id_type="eu_vat",
        tax_id_value=TAX_ID,
        actor="demo",
        reason="reads Swiss German",
        now=timezone.now(),
    )
    expected, found = ("de-CH", TAX_ID), ("", "")
    deadline = time.monotonic() + PATIENCE_SECONDS
    while found != expected and time.monotonic() < deadline:
        customer = gateway.get_customer(account.stripe_customer_id or "", with_tax_ids=True)
        found = (customer.preferred_locales[0], customer.tax_ids[-1].value if customer.tax_ids else "")
        time.sleep(0.1)
    scene.tell.check("A customer at Stripe follows its account", expected=expected, found=found)
    return f"{account.pk}: {expected[0]}, {TAX_ID}"
