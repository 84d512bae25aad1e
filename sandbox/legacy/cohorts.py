"""Who moves together: the cohorts follow from the data, the old tables hold no such column.

1. `cohort-1`: a flat fee only. No usage tiers, no managed job and no hand-written line in the history.
2. `cohort-2`: usage tiers, at most two managed jobs, no hand-written line.
3. `cohort-3`: everybody else: custom arrangements, or heavy on managed services.

A child that bills through its parent is judged and moves with the parent. Closed accounts don't move.
"""

from __future__ import annotations

from collections import defaultdict

from sandbox.legacy.database import Database
from sandbox.legacy.schema import ACCOUNT

COHORTS = ("cohort-1", "cohort-2", "cohort-3")
MANAGED_HEAVY = 3


def read_cohorts(database: Database) -> dict[str, list[int]]:
    """The account ids per cohort, ascending; every account that is not closed is in exactly one."""
    families: dict[int, list[int]] = defaultdict(list)
    for row in database.rows(ACCOUNT, "status <> 'closed'"):
        through_parent = row["parent_acct_id"] is not None and row["stripe_customer_id"] is None
        families[row["parent_acct_id"] if through_parent else row["acct_id"]].append(row["acct_id"])
    tiers = _count(database, "SELECT acct_id, COUNT(*) FROM account_plan_usage GROUP BY acct_id")
    jobs = _count(database, "SELECT acct_id, COUNT(*) FROM managed_service_job GROUP BY acct_id")
    customs = _count(
        database,
        "SELECT i.acct_id, COUNT(*) FROM billing_invoice i JOIN billing_invoice_line l ON l.inv_id = i.inv_id"
        " WHERE l.kind = 'custom' AND i.status IN ('sent', 'paid') GROUP BY i.acct_id",
    )
    cohorts: dict[str, list[int]] = {name: [] for name in COHORTS}
    for members in families.values():
        job_count = sum(jobs[acct_id] for acct_id in members)
        custom = any(customs[acct_id] for acct_id in members)
        tiered = any(tiers[acct_id] for acct_id in members)
        if not tiered and not job_count and not custom:
            name = "cohort-1"
        elif tiered and job_count < MANAGED_HEAVY and not custom:
            name = "cohort-2"
        else:
            name = "cohort-3"
        cohorts[name] += members
    return {name: sorted(members) for name, members in cohorts.items()}


def _count(database: Database, sql: str) -> dict[int, int]:
    return defaultdict(int, {acct_id: int(number) for acct_id, number in database.query(sql)})
