"""What can come of a parity check."""

from __future__ import annotations

from django.db.models import TextChoices


class ParityState(TextChoices):
    """Written once, with the check. Only `clean` is evidence that both sides agree."""

    CLEAN = "clean", "Clean"  # both sides hold usage, and every figure is within its tolerance
    BREACH = "breach", "Breach"  # at least one account or total differs by more
    EMPTY = "empty", "Empty"  # neither side holds any usage: proves nothing
    FAILED = "failed", "Failed"  # the other side could not be read; `detail` says why
