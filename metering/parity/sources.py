"""Where the other side's quantities come from: its own parity address, a CSV file, or the warehouse."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Final, Protocol
from urllib.parse import urlencode, urlsplit

import requests

from billing_worker.core.errors import InvalidInput, Unavailable
from billing_worker.core.periods import Period
from metering.parity.answers import parse_answer
from metering.parity.comparison import Quantities
from metering.parity.signatures import sign_target
from metering.parity.windows import Window, format_instant
from metering.pulling.csv_file import CsvSource
from metering.pulling.sources import UsageSource

#: Connect and read, in seconds.
TIMEOUT: Final = (5, 60)
#: Some hundred thousand accounts.
MAX_ANSWER: Final = 50_000_000
_CHUNK: Final = 65_536


class OtherSideUnavailable(Unavailable):
    """The other side does not answer, or refuses. Check its address, and that both sides share a secret."""

    code = "other_side_unavailable"


class ParitySource(Protocol):
    """The other side."""

    @property
    def name(self) -> str:
        """http, csv or redshift: it is kept with every check."""

    @property
    def is_hourly(self) -> bool:
        """Whether it can tell of a single hour."""

    def read(self, window: Window) -> Quantities:
        """What the other side holds of the window.

        Raises:
            BillingError: it can't be read, is not complete, or makes no sense.
        """


class HttpParitySource:
    """The other side's `usage-parity` address, asked with the same signature that ours expects."""

    name = "http"
    is_hourly = True

    def __init__(self, *, url: str, secret: str, clock: Callable[[], datetime]) -> None:
        """`url` without a query; `secret` is one that the other side takes."""
        self._url = url
        self._secret = secret
        self._clock = clock

    def read(self, window: Window) -> Quantities:
        """Raises OtherSideUnavailable, or UnusableAnswer."""
        query = urlencode({"from": format_instant(window.start_at), "to": format_instant(window.end_at)})
        path = urlsplit(self._url).path or "/"
        headers = sign_target(target=f"{path}?{query}", secret=self._secret, at=self._clock())
        return parse_answer(self._fetch(f"{self._url}?{query}", headers), window=window)

    def _fetch(self, url: str, headers: dict[str, str]) -> bytes:
        try:
            with requests.get(
                url, headers=headers, timeout=TIMEOUT, allow_redirects=False, stream=True
            ) as response:
                if response.status_code != 200:
                    raise OtherSideUnavailable(f"{self._url} answered with status {response.status_code}")
                body = bytearray()
                for chunk in response.iter_content(_CHUNK):
                    body += chunk
                    if len(body) > MAX_ANSWER:
                        raise OtherSideUnavailable(f"{self._url} answered with more than {MAX_ANSWER} bytes")
                return bytes(body)
        except requests.RequestException as error:
            raise OtherSideUnavailable(f"{self._url} can't be read ({type(error).__name__})") from error


class DailyParitySource:
    """A source that usage is pulled from (the warehouse, a file), added up over the days that begin in the window."""

    is_hourly = False

    def __init__(self, source: UsageSource) -> None:
        self._source = source

    @property
    def name(self) -> str:
        return self._source.name

    def read(self, window: Window) -> Quantities:
        """Raises OtherSideUnavailable if a day is not complete, InvalidInput for a row that makes no sense."""
        totals: defaultdict[tuple[int, str], Decimal] = defaultdict(Decimal)
        for day in window.iter_days():
            with self._source.open_day(day) as reading:
                if reading is None and self._source.is_whole:
                    raise OtherSideUnavailable(f"{self.name} does not call {day} complete yet")
                for row in reading.rows if reading else ():
                    usage_type = row.usage_type.strip() if isinstance(row.usage_type, str) else ""
                    if type(row.account_id) is not int or type(row.quantity) is not int or not usage_type:
                        raise InvalidInput(
                            f"{self.name}: a row of {day} has no account, type or whole quantity"
                        )
                    totals[row.account_id, usage_type] += row.quantity
        return totals


def open_csv(path: Path, *, window: Window, now: datetime) -> DailyParitySource:
    """A file as `pull_usage` takes it, of the one month that the window lies in.

    Raises:
        InvalidInput: the window reaches over several months, or the file has problems.
    """
    periods = {Period.of(day) for day in window.iter_days()}
    if len(periods) != 1:
        raise InvalidInput(
            "a file holds one month: --from and --to must lie in it, and at least a day begin between them"
        )
    return DailyParitySource(CsvSource(path, period=periods.pop(), today=now.date()))
