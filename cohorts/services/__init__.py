"""The only writers of cohorts: membership, provisioning, the dual run, the gate and the signatures."""

from cohorts.services.clocks import advance_clocks
from cohorts.services.customers import sync_customers
from cohorts.services.leases import extend_leases
from cohorts.services.lifecycle import open_gate, start_dual_run
from cohorts.services.membership import change_members, create_cohort
from cohorts.services.provision import ProvisioningOptions, provision_cohort
from cohorts.services.reconciling import reconcile_cohort
from cohorts.services.rollback import request_rollback, withdraw_rollback
from cohorts.services.rollback_steps import StepResult, recheck_rollback, settle_rollback
from cohorts.services.signing import recheck_evidence, sign_off
from cohorts.services.sync import SyncResult, sync_subscriptions

__all__ = [
    "ProvisioningOptions",
    "StepResult",
    "SyncResult",
    "advance_clocks",
    "change_members",
    "create_cohort",
    "extend_leases",
    "open_gate",
    "provision_cohort",
    "recheck_evidence",
    "recheck_rollback",
    "reconcile_cohort",
    "request_rollback",
    "settle_rollback",
    "sign_off",
    "start_dual_run",
    "sync_customers",
    "sync_subscriptions",
    "withdraw_rollback",
]
