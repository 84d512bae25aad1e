"""What the old service wrote into its lines' texts, where it has no column for it."""

from __future__ import annotations

import re

from billing_worker.legacy.models import LegacyInvoiceLine

_JOB = re.compile(r"^Managed service job ([0-9]+): ")


def get_job_id(line: LegacyInvoiceLine) -> int | None:
    """The managed job that a line bills, None for any other line."""
    match = _JOB.match(line.description) if line.kind == "managed" else None
    return int(match[1]) if match else None
