"""What goes over the wire, for the OpenAPI document. Records are checked by `metering.parsing`, not by these."""

from __future__ import annotations

from rest_framework import serializers

from metering.models import MAX_QUANTITY
from metering.parsing import MAX_ACCOUNT_ID, MAX_BATCH, MAX_REASON


class UsageRecordSchema(serializers.Serializer):
    account_id = serializers.IntegerField(min_value=1, max_value=MAX_ACCOUNT_ID)
    period = serializers.RegexField(
        r"^[0-9]{4}-[0-9]{2}(-[0-9]{2})?$",
        help_text="2026-10: the month's total. 2026-10-05: that day's total.",
    )
    usage_type = serializers.ChoiceField(choices=["ST", "RM", "CV"])
    quantity = serializers.IntegerField(min_value=0, max_value=MAX_QUANTITY)
    reason = serializers.CharField(
        max_length=MAX_REASON, required=False, help_text="Needed to state another quantity than the one held."
    )


class UsageBatchSchema(serializers.Serializer):
    records = serializers.ListField(child=UsageRecordSchema(), min_length=1, max_length=MAX_BATCH)


class OutcomeSchema(serializers.Serializer):
    status = serializers.ChoiceField(choices=["created", "unchanged", "restated", "conflict", "invalid"])
    key = serializers.CharField(required=False, help_text="{account_id}:{period}:{usage_type}")
    quantity = serializers.IntegerField(required=False, help_text="The quantity in force now.")
    held_quantity = serializers.IntegerField(required=False, help_text="The quantity held before.")
    delta = serializers.IntegerField(required=False)
    revision = serializers.IntegerField(required=False)
    error = serializers.DictField(required=False)


class BatchOutcomeSchema(serializers.Serializer):
    results = OutcomeSchema(many=True, help_text="One for each record, in order.")
    counts = serializers.DictField(child=serializers.IntegerField())


class RevisionSchema(serializers.Serializer):
    revision = serializers.IntegerField()
    quantity = serializers.IntegerField()
    delta = serializers.IntegerField()
    reason = serializers.CharField()
    author = serializers.CharField()
    received_at = serializers.DateTimeField()
    rolled_up_at = serializers.DateTimeField(allow_null=True)


class BucketSchema(serializers.Serializer):
    bucket = serializers.CharField()
    usage_type = serializers.CharField()
    quantity = serializers.IntegerField()
    revisions = RevisionSchema(many=True)


class EventSchema(serializers.Serializer):
    identifier = serializers.CharField()
    usage_type = serializers.CharField()
    value = serializers.IntegerField()
    at = serializers.DateTimeField()
    state = serializers.CharField()
    reason = serializers.CharField()
    customer = serializers.CharField(allow_null=True)
    sent_at = serializers.DateTimeField(allow_null=True)


class InvoicedSchema(serializers.Serializer):
    invoice = serializers.CharField()
    status = serializers.CharField()
    usage_type = serializers.CharField()
    quantity = serializers.IntegerField()
    amount_minor = serializers.IntegerField()
    currency = serializers.CharField()


class SampledSchema(serializers.Serializer):
    meter = serializers.CharField(help_text="Stripe's event name: the meter with the account's plan tier.")
    title = serializers.CharField()
    quantity = serializers.CharField(help_text="Billed units, a decimal with six places.")
    in_meter_events = serializers.IntegerField(help_text="Whole units that meter events hold.")
    sent = serializers.IntegerField(help_text="Units that Stripe counted.")
    is_complete = serializers.BooleanField(help_text="Every hour or day with samples is in meter events.")
    days = serializers.DictField(child=serializers.CharField(), help_text="`quantity` of each day (UTC).")


class PeriodUsageSchema(serializers.Serializer):
    account_id = serializers.IntegerField()
    period = serializers.CharField()
    fed = serializers.CharField(allow_null=True, help_text="`day`, `month`, or null while nothing is held.")
    complete = serializers.DictField(
        allow_null=True,
        help_text="`scope`, `declared_by`, `declared_at` of the sender's word that it is all there.",
    )
    totals = serializers.DictField(child=serializers.IntegerField())
    sent = serializers.DictField(
        child=serializers.IntegerField(), help_text="Units that Stripe counted, by type."
    )
    sampled = SampledSchema(many=True, help_text="Sampled meters, one for each plan tier.")
    usage = BucketSchema(many=True)
    meter_events = EventSchema(many=True)
    invoiced = InvoicedSchema(many=True, help_text="Lines of the paying account's invoices for this month.")
