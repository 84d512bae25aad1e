"""What the pages about documents, mails and charges share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest
from unfold.admin import ModelAdmin

from billing_worker.accounts.search import FoldedSearch
from billing_worker.core.errors import BillingError

T = TypeVar("T")
#: For who comes to a form's address without the form: after a log-in in between, or by reloading.
NOTHING_DONE: Final = "Nothing was done: press the button on this page."


class ReadOnlyAdmin(FoldedSearch, ModelAdmin):
    """Services are the only writers: the console shows."""

    list_per_page = 50

    def has_add_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False


def get_name(request: HttpRequest) -> str:
    """Under which what the person does is kept on record."""
    return str(request.user.get_username())


def try_to(request: HttpRequest, permission: str, act: Callable[[], T]) -> T | None:
    """Do it if the person may; a refusal of ours becomes a message on the page."""
    if not request.user.has_perm(permission):
        raise PermissionDenied
    try:
        return act()
    except BillingError as error:
        tell_refusal(request, error)
        return None


def tell_refusal(request: HttpRequest, error: BillingError) -> None:
    """A refusal of ours, as a message on the next page."""
    text = str(error)
    messages.error(request, text[:1].upper() + text[1:])
