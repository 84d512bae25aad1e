"""What goes over the wire, for the OpenAPI document. Requests are checked by `invoices.api.parsing`, not by these."""

from __future__ import annotations

from rest_framework import serializers

from invoices.api.parsing import MAX_ACCOUNT_ID, MAX_AMOUNT, MAX_TITLE, REFERENCE
from invoices.states import ChargeState


class ManagedServiceRequestSchema(serializers.Serializer):
    reference = serializers.RegexField(
        f"^{REFERENCE}$", help_text="Your own id. The same id is the same job, for ever."
    )
    account_id = serializers.IntegerField(min_value=1, max_value=MAX_ACCOUNT_ID)
    amount_minor = serializers.IntegerField(
        min_value=1,
        max_value=MAX_AMOUNT,
        help_text="Exact, in the currency's minor unit: 12500 is 125.00 dollars.",
    )
    currency = serializers.RegexField(r"^[a-z]{3}$", help_text="The account's currency.")
    title = serializers.CharField(max_length=MAX_TITLE, help_text="As it is printed on the invoice.")
    completed_on = serializers.DateField(
        help_text="Day (UTC) on which it was done: it is billed for that month."
    )


class ManagedServiceSchema(serializers.Serializer):
    reference = serializers.CharField()
    account_id = serializers.IntegerField()
    amount_minor = serializers.IntegerField()
    currency = serializers.CharField()
    title = serializers.CharField()
    completed_on = serializers.DateField()
    state = serializers.ChoiceField(choices=ChargeState.choices)
    reason = serializers.CharField(help_text="Why it is not at Stripe; empty otherwise.")
    invoice_item = serializers.CharField(allow_null=True, help_text="Stripe's id of the invoice item.")
    invoice = serializers.CharField(
        allow_null=True, help_text="Number (or id) of the invoice that it stands on."
    )
