"""Addresses that a person typed: split, checked, and held against the allow-list before anything is queued."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import validate_email

from billing_worker.core.errors import InvalidInput
from invoices.delivery import find_refused_addresses

#: More than this is a mailing list, or a wrong paste.
MAX_ADDRESSES: Final = 20


def split_addresses(text: str) -> list[str]:
    """`a@example.com, b@example.com` to its addresses, each once, in order."""
    return list(dict.fromkeys(part.strip() for part in text.replace(";", ",").split(",") if part.strip()))


def check_addresses(addresses: Sequence[str]) -> None:
    """Refuse what can't be mailed to, with words for the person who typed it.

    Raises:
        InvalidInput: something is not an address, the allow-list refuses one, or there are more than 20.
    """
    if len(addresses) > MAX_ADDRESSES:
        raise InvalidInput(f"{len(addresses)} addresses are too many: name {MAX_ADDRESSES} at most")
    for address in addresses:
        try:
            validate_email(address)
        except ValidationError:
            raise InvalidInput(f"“{address[:100]}” is not a mail address: nothing was sent") from None
    refused = find_refused_addresses(addresses)
    if refused:
        allowed = ", ".join(settings.ENV.MAIL_ALLOWLIST) or "nobody"
        raise InvalidInput(
            f"outside production mail goes to {allowed} only (MAIL_ALLOWLIST): {', '.join(refused)} is refused"
        )


def check_reason(reason: str, *, limit: int = 200) -> str:
    """The reason without blanks around it; it is kept on record.

    Raises:
        InvalidInput: there is none, or it is longer than `limit` characters.
    """
    reason = reason.strip()
    if not reason:
        raise InvalidInput("say why: the reason is kept on record")
    if len(reason) > limit:
        raise InvalidInput(f"the reason has {len(reason)} characters: {limit} are kept, make it shorter")
    return reason
