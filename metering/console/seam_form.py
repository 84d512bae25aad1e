"""The form that changes the seam: for accounts named in it, or for those that a page gives it (a cohort's members)."""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, date, datetime
from typing import Any, Final, Literal

from django import forms
from django.contrib.admin import AdminSite
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils import timezone

from billing_worker.core.errors import BillingError, InvalidInput
from metering.config import get_seam
from metering.models import SeamSetting
from metering.services.arming import KEEP, Keep, SeamChange, change_seam, reset_seam

PERMISSION: Final = "metering.change_seamsetting"
#: Ids in one form; a cohort's own page has no bound.
MAX_ACCOUNTS: Final = 500
#: What the services call their arguments, as this form calls its fields.
_FIELDS: Final = {"account_ids": "accounts", "bill_from": "bill_from_date", "reason": "reason"}


class SeamForm(forms.Form):
    """One switch, both, or back to the environment's default. Left as they are, nothing changes."""

    accounts = forms.CharField(
        label="Accounts",
        help_text="Their ids, separated by commas or spaces.",
        widget=forms.Textarea(attrs={"rows": 2}),
        max_length=8000,
    )
    shadow = forms.ChoiceField(
        label="Shadow",
        choices=[
            ("keep", "leave it as it is"),
            ("off", "off: meter events are sent"),
            ("on", "on: compute, send nothing"),
            ("default", "remove the setting: the environment's default holds for both"),
        ],
    )
    bill_from = forms.ChoiceField(
        label="Bill from",
        choices=[
            ("keep", "leave it as it is"),
            ("start", "from the start"),
            ("date", "from this day on (midnight UTC)"),
        ],
    )
    bill_from_date = forms.DateField(
        label="Day", required=False, widget=forms.DateInput(attrs={"type": "date"})
    )
    reason = forms.CharField(label="Why", max_length=400, help_text="Kept in the audit trail.")

    def __init__(self, *args: Any, account_ids: Collection[int] | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._account_ids = account_ids
        if account_ids is not None:
            del self.fields["accounts"]

    def clean_accounts(self) -> list[int]:
        parts = self.cleaned_data["accounts"].replace(",", " ").split()
        bad = [part for part in parts if not (part.isascii() and part.isdigit() and len(part) < 18)]
        if bad:
            raise forms.ValidationError(f"{bad[0]!r} is not an account id.")
        if len(parts) > MAX_ACCOUNTS:
            raise forms.ValidationError(
                f"At most {MAX_ACCOUNTS} accounts at once; a cohort's page takes all of its own."
            )
        return [int(part) for part in parts]

    def clean(self) -> dict[str, Any]:
        found = super().clean() or self.cleaned_data
        shadow, bill_from = found.get("shadow"), found.get("bill_from")
        if shadow == "keep" and bill_from == "keep":
            raise forms.ValidationError(
                "Nothing to change: choose what becomes of shadow, of the day, or of both."
            )
        if shadow == "default" and bill_from != "keep":
            self.add_error("bill_from", "Removing the setting removes its day as well: leave this as it is.")
        if bill_from == "date" and not found.get("bill_from_date") and "bill_from_date" not in self.errors:
            self.add_error("bill_from_date", "Give the first day that is sent.")
        return found

    def apply(self, *, actor: str, now: datetime) -> SeamChange | None:
        """Make the change; None if it was refused, with the reason at its field."""
        given = self.cleaned_data
        ids = self._account_ids if self._account_ids is not None else given["accounts"]
        try:
            if given["shadow"] == "default":
                return reset_seam(
                    account_ids=ids, default=get_seam(), actor=actor, reason=given["reason"], now=now
                )
            return change_seam(
                account_ids=ids,
                default=get_seam(),
                shadow=KEEP if given["shadow"] == "keep" else given["shadow"] == "on",
                bill_from=_read_bound(given["bill_from"], given["bill_from_date"]),
                actor=actor,
                reason=given["reason"],
                now=now,
            )
        except BillingError as error:
            self._note(error)
            return None

    def _note(self, error: BillingError) -> None:
        """At the field that the service names; a conflict is about the day."""
        named = next(iter(error.fields), "") if isinstance(error, InvalidInput) else "bill_from"
        field = _FIELDS.get(named, "")
        self.add_error(field if field in self.fields else None, str(error))


def _read_bound(choice: str, day: date | None) -> datetime | Literal[Keep.KEEP] | None:
    if choice == "keep":
        return KEEP
    return datetime(day.year, day.month, day.day, tzinfo=UTC) if choice == "date" and day else None


def describe_change(change: SeamChange) -> str:
    """What a change did, for the person who made it."""
    late = f"; {change.too_late} had gone out before and stay so" if change.too_late else ""
    return f"{change.accounts} accounts: {change.armed} meter events armed, {change.disarmed} back in shadow{late}"


def show_seam_form(
    request: HttpRequest,
    site: AdminSite,
    *,
    back: str,
    whose: str = "",
    account_ids: Collection[int] | None = None,
) -> HttpResponse | SeamChange:
    """The form's page, or what was changed once it was sent and taken. `back` is where Cancel leads.

    Raises:
        PermissionDenied: the person may not change the seam.
    """
    if not request.user.has_perm(PERMISSION):
        raise PermissionDenied
    is_sent = request.method == "POST"
    initial = {"accounts": request.GET.get("accounts", "")}
    form = SeamForm(request.POST if is_sent else None, account_ids=account_ids, initial=initial)
    if is_sent and form.is_valid():
        change = form.apply(actor=request.user.get_username(), now=timezone.now())
        if change is not None:
            return change
    held = SeamSetting.objects.filter(account__in=account_ids) if account_ids is not None else None
    context = {
        **site.each_context(request),
        "title": "Change the seam",
        "opts": SeamSetting._meta,
        "form": form,
        "back": back,
        "whose": whose,
        "default": get_seam(),
        "accounts_count": len(account_ids) if account_ids is not None else None,
        "own_count": held.count() if held is not None else None,
        "open_count": held.filter(shadow=False).count() if held is not None else None,
    }
    return TemplateResponse(request, "metering/seam_form.html", context, status=422 if is_sent else 200)
