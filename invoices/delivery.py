"""Handing a message to the mail service, and what its answer means: gone out, certainly not, or nobody knows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final, Protocol, runtime_checkable

import requests
from anymail.exceptions import AnymailAPIError, AnymailError, AnymailRecipientsRefused
from django.conf import settings
from django.core.mail import EmailMultiAlternatives, get_connection
from urllib3.exceptions import NewConnectionError

#: The service answered that it did not take the message, and that the same one may be taken later.
RETRY_STATUSES: Final = frozenset({401, 403, 429})


class Outcome(Enum):
    SENT = "sent"
    NOT_SENT = "not sent, try again"
    REJECTED = "not sent, for good"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class SendResult:
    outcome: Outcome
    error: str = ""
    service_message_id: str = ""


@runtime_checkable
class KnowsWhatItSent(Protocol):
    """A mail backend that can say whether a message went out."""

    def was_sent(self, message_id: str) -> bool: ...


def send_message(message: EmailMultiAlternatives) -> SendResult:
    """Send one message and judge the answer. Never raises for what the mail service or the network did."""
    message.connection = get_connection()
    try:
        message.send()
    except AnymailRecipientsRefused as error:
        return SendResult(Outcome.REJECTED, _describe(error))
    except AnymailAPIError as error:
        return SendResult(_judge(error), _describe(error))
    except AnymailError as error:
        return SendResult(Outcome.REJECTED, _describe(error))
    except OSError as error:
        # Files only: a message that could not be written is not there.
        return SendResult(Outcome.NOT_SENT, _describe(error))
    status = getattr(message, "anymail_status", None)
    return SendResult(Outcome.SENT, service_message_id=str(getattr(status, "message_id", None) or ""))


def find_evidence(message_id: str) -> bool | None:
    """Whether a message went out, by the backend's own word; None from a backend that can't say."""
    connection: Any = get_connection()
    return connection.was_sent(message_id) if isinstance(connection, KnowsWhatItSent) else None


def find_refused_addresses(addresses: Sequence[str]) -> list[str]:
    """Addresses that the allow-list refuses: outside production, Mailgun reaches real people only by mistake."""
    env = settings.ENV
    if env.is_production or env.MAILGUN_API_KEY is None:
        return []
    allowed = [domain.lower().lstrip("@") for domain in env.MAIL_ALLOWLIST]
    refused = []
    for address in addresses:
        domain = address.rpartition("@")[2].lower()
        if not any(domain == name or domain.endswith(f".{name}") for name in allowed):
            refused.append(address)
    return refused


def _judge(error: AnymailAPIError) -> Outcome:
    status = error.status_code
    if status is None:
        return Outcome.NOT_SENT if _never_connected(error) else Outcome.UNKNOWN
    if status in RETRY_STATUSES:
        return Outcome.NOT_SENT
    if 400 <= status < 500 and status != 408:
        return Outcome.REJECTED
    return Outcome.UNKNOWN


def _never_connected(error: BaseException) -> bool:
    """True if the request provably never left: no connection could be made at all."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, requests.ConnectTimeout):
            return True
        if isinstance(cause, requests.ConnectionError) and isinstance(
            getattr(cause.args[0] if cause.args else None, "reason", None), NewConnectionError
        ):
            return True
        cause = cause.__cause__
    return False


def _describe(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:500]
