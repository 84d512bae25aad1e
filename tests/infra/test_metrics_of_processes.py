"""`/metrics` behind several web processes: the same sum, whichever of them answers."""

from __future__ import annotations

import re
import urllib.error
import urllib.request
from collections.abc import Callable

import pytest

from tests.support.installation import Installation

pytestmark = pytest.mark.slow


def read_refused(installation: Installation) -> float:
    with urllib.request.urlopen(f"{installation.url}/metrics", timeout=60) as answer:
        text = answer.read().decode()
    found = re.search(r'^billing_webhooks_refused_total\{reason="[a-z_]+"\} (\S+)$', text, re.MULTILINE)
    return float(found[1]) if found else 0.0


def refuse_webhooks(installation: Installation, count: int) -> None:
    for _ in range(count):
        request = urllib.request.Request(f"{installation.url}/webhook/stripe", data=b"{}", method="POST")
        with pytest.raises(urllib.error.HTTPError, match="400"):
            urllib.request.urlopen(request, timeout=60)


def test_every_process_is_counted_and_a_new_start_counts_anew(
    make_installation: Callable[..., Installation],
) -> None:
    installation = make_installation()
    installation.start_web(workers=2)
    refuse_webhooks(installation, 12)
    assert {read_refused(installation) for _ in range(8)} == {12.0}
    assert len(list((installation.var / "metrics" / "web").glob("counter_*.db"))) == 2
    installation.stop()

    installation.start_web(workers=2)
    assert {read_refused(installation) for _ in range(4)} == {0.0}
