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
    ROLLED_BACK = "rolled_back", "Rolled back"  # handed back to legacy from a month on: see `Rollback`


#: From each state, where it may go. New drift or changed members take a clean cohort back to its dual run.
TRANSITIONS: Final[dict[CohortState, frozenset[CohortState]]] = {
    CohortState.DRAFT: frozenset({CohortState.READY}),
    CohortState.READY: frozenset({CohortState.DUAL_RUN, CohortState.DRAFT, CohortState.ROLLED_BACK}),
    CohortState.DUAL_RUN: frozenset({CohortState.CLEAN, CohortState.ROLLED_BACK}),
    CohortState.CLEAN: frozenset({CohortState.DUAL_RUN, CohortState.MIGRATED, CohortState.ROLLED_BACK}),
    CohortState.MIGRATED: frozenset({CohortState.ROLLED_BACK}),
    # A rollback that is withdrawn before its month: what was ready is ready, all else is in its dual run again.
    CohortState.ROLLED_BACK: frozenset({CohortState.READY, CohortState.DUAL_RUN}),
}

#: The way to Stripe, in order.
WAY: Final = (
    CohortState.DRAFT,
    CohortState.READY,
    CohortState.DUAL_RUN,
    CohortState.CLEAN,
    CohortState.MIGRATED,
)


#: States in which Stripe bills the members.
BILLED_BY_STRIPE: Final = (CohortState.DUAL_RUN, CohortState.CLEAN, CohortState.MIGRATED)


class ProvisioningState(TextChoices):
    PENDING = "pending", "Pending"
    STARTED = "started", "Being set up"  # committed before Stripe is first asked for it
    CUSTOMER = "customer", "Customer created"
    PROVISIONED = "provisioned", "Provisioned"


#: States in which the members' subscriptions exist and follow their plans: a rolled back one's until it ends.
PROVISIONED_STATES: Final = (CohortState.READY, *BILLED_BY_STRIPE, CohortState.ROLLED_BACK)


class ChangeState(TextChoices):
    PENDING = "pending", "being made"  # committed before Stripe is asked; a repeat asks with the same key
    APPLIED = "applied", "made"
    REFUSED = "refused", "refused by Stripe"
    SUPERSEDED = "superseded", "superseded"  # never confirmed, and no longer what is wanted


#: Signatures that a migration needs: of different people, at least one of them in finance.
SIGNATURES_NEEDED: Final = 2
FINANCE_ROLE: Final = "finance"


class RollbackState(TextChoices):
    RUNNING = "running", "being handed back"  # some payers are still to do
    DONE = "done", "handed back"
    WITHDRAWING = "withdrawing", "being withdrawn"
    WITHDRAWN = "withdrawn", "withdrawn"


class StepState(TextChoices):
    PENDING = "pending", "to be ended at Stripe"
    DONE = "done", "handed back to legacy"
    LIFTING = "lifting", "to go on at Stripe"
    LIFTED = "lifted", "goes on at Stripe"


#: Where a payer's step of a rollback may go. `done -> pending`: its end was taken back at Stripe, or Stripe began the
#: month before it was asked, so that the payer goes a month later.
STEP_TRANSITIONS: Final[dict[StepState, frozenset[StepState]]] = {
    StepState.PENDING: frozenset({StepState.DONE, StepState.LIFTING}),
    StepState.DONE: frozenset({StepState.PENDING, StepState.LIFTING}),
    StepState.LIFTING: frozenset({StepState.LIFTED, StepState.PENDING}),
    StepState.LIFTED: frozenset({StepState.PENDING}),
}
