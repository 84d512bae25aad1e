"""Requests for managed services as callers send them: checked field by field, all reasons at once. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date
from typing import Any, Final

from billing_worker.accounts.jobs import JobRequest
from billing_worker.core.errors import InvalidInput

MAX_REFERENCE: Final = 64
MAX_TITLE: Final = 200
#: The largest amount that Stripe takes: eight digits of the minor unit. https://docs.stripe.com/api/invoiceitems/create
MAX_AMOUNT: Final = 99_999_999
MAX_ACCOUNT_ID: Final = 2**63 - 1
FIELDS: Final = ("reference", "account_id", "amount_minor", "currency", "title", "completed_on")
REFERENCE: Final = r"[A-Za-z0-9][A-Za-z0-9._:-]{0,63}"
_CURRENCY: Final = re.compile(r"[a-z]{3}")
_DAY: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def parse_job_request(raw: object) -> JobRequest:
    """Check one request.

    Raises:
        InvalidInput: `fields` holds every reason for every field.
    """
    if not isinstance(raw, dict):
        raise InvalidInput("a request is an object", fields={"body": ["must be an object"]})
    unknown = raw.keys() - set(FIELDS)
    errors = {
        name[:60].encode("ascii", "backslashreplace").decode(): ["is not a known field"] for name in unknown
    }
    values: dict[str, Any] = {}
    for name, parse in _PARSERS.items():
        try:
            values[name] = parse(raw[name])
        except KeyError:
            errors[name] = ["is missing"]
        except ValueError as error:
            errors[name] = [str(error)]
    if errors:
        raise InvalidInput("some fields are not valid", fields=errors)
    return JobRequest(**values)


def _parse_reference(value: object) -> str:
    if not isinstance(value, str) or not re.fullmatch(REFERENCE, value):
        raise ValueError(f"must be 1 to {MAX_REFERENCE} letters, digits, dots, dashes, colons or underscores")
    return value


def _parse_account_id(value: object) -> int:
    if type(value) is not int or not 0 < value <= MAX_ACCOUNT_ID:
        raise ValueError("must be an account's number")
    return value


def _parse_amount(value: object) -> int:
    if type(value) is not int or not 0 < value <= MAX_AMOUNT:
        raise ValueError(f"must be a whole number of the currency's minor unit, 1 to {MAX_AMOUNT}")
    return value


def _parse_currency(value: object) -> str:
    if not isinstance(value, str) or not _CURRENCY.fullmatch(value):
        raise ValueError("must be a currency's three small letters, like usd")
    return value


def _parse_title(value: object) -> str:
    if not isinstance(value, str) or not value.strip() or len(value) > MAX_TITLE:
        raise ValueError(f"must be a text of 1 to {MAX_TITLE} characters: it is printed on the invoice")
    if _CONTROL.search(value):
        raise ValueError("must be plain text without control or direction characters")
    return value.strip()


def _parse_day(value: object) -> date:
    if not isinstance(value, str) or not _DAY.fullmatch(value):
        raise ValueError("must be a day like 2026-10-05")
    try:
        day = date.fromisoformat(value)
    except ValueError:
        raise ValueError("is not a day of the calendar") from None
    if day.year < 2000:
        raise ValueError("lies too far back")
    return day


_PARSERS: Final[dict[str, Callable[[object], object]]] = {
    "reference": _parse_reference,
    "account_id": _parse_account_id,
    "amount_minor": _parse_amount,
    "currency": _parse_currency,
    "title": _parse_title,
    "completed_on": _parse_day,
}
