"""What the settings say about holding drafts."""

from __future__ import annotations

from datetime import timedelta

from django.conf import settings

from metering.draft_window.services import HoldPolicy


def get_hold_policy() -> HoldPolicy:
    """The policy of this environment."""
    env = settings.ENV
    return HoldPolicy(
        enabled=env.DRAFT_HOLD,
        deadline=timedelta(hours=env.DRAFT_HOLD_DEADLINE_HOURS),
        after_deadline=env.DRAFT_HOLD_AFTER_DEADLINE,
    )
