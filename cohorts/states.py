"""A cohort's way from the old service to Stripe, as one table."""

from __future__ import annotations

from typing import Final

from django.db.models import TextChoices


class CohortState(TextChoices):
    DRAFT = "draft", "Draft"  # members are being chosen
    READY = "ready", "Ready"  # every member is provisioned at Stripe
    DUAL_RUN = "dual_run", "Dual run"  # Stripe bills the period, legacy runs it in shadow
    CLEAN = "clean", "Clean cycle"  # the gate opened: evidence is frozen, signatures are collected
    MIGRATED = "migrated", "Migrated"


#: From each state, where it may go. New drift or changed members take a clean cohort back to its dual run.
TRANSITIONS: Final[dict[CohortState, frozenset[CohortState]]] = {
    CohortState.DRAFT: frozenset({CohortState.READY}),
    CohortState.READY: frozenset({CohortState.DUAL_RUN, CohortState.DRAFT}),
    CohortState.DUAL_RUN: frozenset({CohortState.CLEAN}),
    CohortState.CLEAN: frozenset({CohortState.DUAL_RUN, CohortState.MIGRATED}),
    CohortState.MIGRATED: frozenset(),
}


#: States in which Stripe bills the members.
BILLED_BY_STRIPE: Final = (CohortState.DUAL_RUN, CohortState.CLEAN, CohortState.MIGRATED)


class ProvisioningState(TextChoices):
    PENDING = "pending", "Pending"
    CUSTOMER = "customer", "Customer created"
    PROVISIONED = "provisioned", "Provisioned"


#: States in which the members' subscriptions exist and follow their plans.
PROVISIONED_STATES: Final = (CohortState.READY, *BILLED_BY_STRIPE)


class ChangeState(TextChoices):
    PENDING = "pending", "being made"  # committed before Stripe is asked; a repeat asks with the same key
    APPLIED = "applied", "made"
    REFUSED = "refused", "refused by Stripe"
    SUPERSEDED = "superseded", "superseded"  # never confirmed, and no longer what is wanted


#: Signatures that a migration needs: of different people, at least one of them in finance.
SIGNATURES_NEEDED: Final = 2
FINANCE_ROLE: Final = "finance"
