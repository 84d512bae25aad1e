"""Forms that several consoles share."""

from __future__ import annotations

from django import forms
from unfold.forms import ActionForm
from unfold.widgets import UnfoldAdminTextInputWidget

MAX_REASON = 400


class ReasonForm(ActionForm):
    """An action on chosen rows, and why."""

    reason = forms.CharField(
        label="",
        required=False,
        max_length=MAX_REASON,
        widget=UnfoldAdminTextInputWidget(attrs={"placeholder": "Why? Kept on record."}),
    )
