"""What `GET /internal/usage-parity` says, written and read: both sides speak the same form."""

from __future__ import annotations

import re
from collections import defaultdict
from decimal import Decimal
from typing import Any, Final

from billing_worker.core.errors import InvalidInput
from billing_worker.core.strict_json import loads_strict
from metering.parity.comparison import Quantities
from metering.parity.windows import Window, format_instant

MAX_ACCOUNT_ID: Final = 2**63 - 1
#: Fits the column; more than any meter can hold.
MAX_DIGITS: Final = 18
_METER: Final = re.compile(r"[A-Za-z0-9_]{1,40}")
_QUANTITY: Final = re.compile(rf"[0-9]{{1,{MAX_DIGITS}}}(\.[0-9]{{1,6}})?")


class UnusableAnswer(InvalidInput):
    """The other side answered with something else than quantities. Nothing was compared: mend its answer."""

    code = "unusable_answer"


def build_answer(window: Window, quantities: Quantities) -> dict[str, Any]:
    """Accounts in order, each with its meters. Whole quantities are integers, others decimals in a string."""
    accounts: defaultdict[int, dict[str, int | str]] = defaultdict(dict)
    for (account_id, meter), quantity in sorted(quantities.items()):
        whole = int(quantity)
        accounts[account_id][meter] = whole if whole == quantity else f"{quantity:f}"
    return {
        "from": format_instant(window.start_at),
        "to": format_instant(window.end_at),
        "accounts": [
            {"account_id": account_id, "quantities": meters} for account_id, meters in accounts.items()
        ],
    }


def parse_answer(body: bytes, *, window: Window) -> dict[tuple[int, str], Decimal]:
    """The quantities in an answer about exactly this window.

    Raises:
        UnusableAnswer: not JSON, another window, an account twice, or a figure that is no quantity of at least 0.
    """
    try:
        answer = loads_strict(body)
    except ValueError as error:
        raise UnusableAnswer(f"the other side's answer is not JSON: {error}") from None
    if not isinstance(answer, dict) or not isinstance(answer.get("accounts"), list):
        raise UnusableAnswer("the other side's answer has no list of `accounts`")
    asked = (format_instant(window.start_at), format_instant(window.end_at))
    if (answer.get("from"), answer.get("to")) != asked:
        raise UnusableAnswer("the other side's answer is about another window")
    found: dict[tuple[int, str], Decimal] = {}
    seen: set[int] = set()
    for position, entry in enumerate(answer["accounts"]):
        account_id, meters = _take_entry(entry, position)
        if account_id in seen:
            raise UnusableAnswer(f"the other side lists account {account_id} twice")
        seen.add(account_id)
        found |= {(account_id, meter): _parse(account_id, meter, value) for meter, value in meters.items()}
    return found


def _take_entry(entry: object, position: int) -> tuple[int, dict[str, object]]:
    account_id = entry.get("account_id") if isinstance(entry, dict) else None
    meters = entry.get("quantities") if isinstance(entry, dict) else None
    if type(account_id) is not int or not 0 < account_id <= MAX_ACCOUNT_ID or not isinstance(meters, dict):
        raise UnusableAnswer(f"the other side's entry {position} has no `account_id` and `quantities`")
    return account_id, meters


def _parse(account_id: int, meter: str, value: object) -> Decimal:
    text = str(value) if type(value) is int or isinstance(value, str | Decimal) else ""
    if not _METER.fullmatch(meter) or not _QUANTITY.fullmatch(text):
        raise UnusableAnswer(f"the other side has no usable quantity of a meter for account {account_id}")
    return Decimal(text)
