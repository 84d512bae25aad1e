"""Who may move a cohort and who may sign for it."""

from __future__ import annotations

from billing_worker.accounts.roles import ENGINEER, FINANCE, OPS, ROLES

MOVE, SIGN = "cohorts.run_cohort", "cohorts.sign_off_cohort"


def test_engineers_move_and_finance_signs_and_only_ops_may_do_both() -> None:
    assert {role: (MOVE in names, SIGN in names) for role, names in ROLES.items()} == {
        OPS: (True, True),
        FINANCE: (False, True),
        ENGINEER: (True, False),
    }
