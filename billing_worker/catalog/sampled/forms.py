"""The console's forms for sampled meters. A service does the work: rules and audit are those of the commands."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django import forms

from billing_worker.catalog.sampled.models import SampledMeter
from billing_worker.catalog.sampled.price_text import parse_prices, parse_tiers
from billing_worker.catalog.sampled.services import add_sampled_tier, define_sampled_meter, set_sampled_plan
from billing_worker.catalog.sampled.states import BillingMode, BucketLength, SampledQuantity
from billing_worker.core.errors import BillingError, InvalidInput
from billing_worker.core.periods import Period

_PRICES_HELP = "Minor units per unit, by currency: usd:0.0015,eur:0.0014. Empty: counted, not billed."


class ServiceForm(forms.Form):
    """A form whose work is one service call; what the service refuses is told at its field."""

    #: What the services call their arguments, where the form calls its field otherwise.
    renamed: dict[str, str] = {}
    title: str
    note: str
    button: str

    reason = forms.CharField(label="Why", max_length=400, help_text="Kept in the audit trail.")
    field_order: list[str] | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.order_fields([name for name in self.fields if name != "reason"])

    def apply(self, *, actor: str, now: datetime) -> str | None:
        """Do it and say what was done; None if it was refused, with the reason in the form's errors."""
        try:
            return self.do(actor=actor, now=now)
        except BillingError as error:
            named = next(iter(error.fields), "") if isinstance(error, InvalidInput) else ""
            field = self.renamed.get(named, named)
            self.add_error(field if field in self.fields else None, str(error))
            return None

    def do(self, *, actor: str, now: datetime) -> str:
        """Call the service with what was given. Raises BillingError."""
        raise NotImplementedError


class DefineMeterForm(ServiceForm):
    """A new sampled meter with its plan tiers."""

    title = "Define a sampled meter"
    note = "what it measures and how it is billed never changes; catalog_apply then makes it at Stripe"
    button = "Define the meter"

    name = forms.CharField(max_length=20, help_text="As samples name it, like gb_seconds.")
    shown_as = forms.CharField(
        label="Title", max_length=60, help_text="As invoices name it, like GB-seconds."
    )
    quantity = forms.ChoiceField(choices=SampledQuantity.choices)
    billing_mode = forms.ChoiceField(label="Billed on", choices=BillingMode.choices)
    bucket = forms.ChoiceField(label="Added up", choices=BucketLength.choices)
    tiers = forms.CharField(
        label="Plan tiers",
        max_length=4000,
        widget=forms.Textarea(attrs={"rows": 4, "placeholder": "standard=usd:0.9\npro=usd:0.5,eur:0.45"}),
        help_text="One a line, with minor units per unit by currency. For one meter for everybody: a single line.",
    )
    renamed = {"title": "shown_as"}

    def do(self, *, actor: str, now: datetime) -> str:
        given = self.cleaned_data
        tiers = parse_tiers([line for line in given["tiers"].splitlines() if line.strip()])
        mode = BillingMode(given["billing_mode"])
        if mode == BillingMode.UNIFIED and len(tiers) == 1:
            tiers = {"": next(iter(tiers.values()))}
        meter = define_sampled_meter(
            name=given["name"],
            title=given["shown_as"],
            quantity=SampledQuantity(given["quantity"]),
            billing_mode=mode,
            bucket=BucketLength(given["bucket"]),
            tiers=tiers,
            actor=actor,
            reason=given["reason"],
            now=now,
        )
        return f"{meter.name} is defined. Run catalog_apply to make its meters and prices at Stripe."


class AddTierForm(ServiceForm):
    """One more plan tier of a meter: also how a new price comes."""

    title = "Add a plan tier"
    note = "a price is never changed: a new one is a new tier, which accounts move to from a month on"
    button = "Add the tier"

    meter = forms.ModelChoiceField(
        SampledMeter.objects.filter(billing_mode=BillingMode.PER_TIER), to_field_name="name"
    )
    name = forms.CharField(max_length=19, help_text="Small letters, digits and _, like pro_2027.")
    prices = forms.CharField(max_length=400, required=False, help_text=_PRICES_HELP)
    renamed = {"tiers": "prices"}

    def do(self, *, actor: str, now: datetime) -> str:
        given = self.cleaned_data
        tier = add_sampled_tier(
            meter=given["meter"].name,
            name=given["name"],
            prices=parse_prices(given["prices"]),
            actor=actor,
            reason=given["reason"],
            now=now,
        )
        return f"{tier.event_name} is added. Run catalog_apply to make its meter and prices at Stripe."


class SetPlanForm(ServiceForm):
    """On which tier an account's samples are billed from a month on."""

    title = "Set an account's plan"
    note = "a month that has begun keeps its plan: its samples are stored by it"
    button = "Set the plan"

    account = forms.IntegerField(label="Account id", min_value=1, max_value=2**63 - 1)
    meter = forms.ModelChoiceField(SampledMeter.objects.all(), to_field_name="name")
    tier = forms.CharField(
        required=False, max_length=19, help_text="Its name; empty for a meter that everybody shares."
    )
    refuse = forms.BooleanField(required=False, label="Refuse samples from then on")
    from_period = forms.CharField(label="From month", max_length=7, help_text="UTC, like 2026-10.")
    renamed = {"account_id": "account"}

    def clean_from_period(self) -> Period:
        try:
            return Period.parse(self.cleaned_data["from_period"])
        except InvalidInput as error:
            raise forms.ValidationError(str(error)) from None

    def do(self, *, actor: str, now: datetime) -> str:
        given = self.cleaned_data
        plan = set_sampled_plan(
            account_id=given["account"],
            meter=given["meter"].name,
            tier=None if given["refuse"] else given["tier"],
            from_period=given["from_period"],
            actor=actor,
            reason=given["reason"],
            now=now,
        )
        return f"Account {plan.account_id} is on {plan.tier or 'no tier'} from {plan.from_period}."
