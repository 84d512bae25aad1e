"""The Celery application and its schedule.

The broker only carries kicks: the database rows are the queue of record, and the sweepers below find whatever a lost
kick or a killed worker left behind. Every scheduled task is therefore safe to run twice at once.
"""

from __future__ import annotations

import os
from pathlib import Path

from celery import Celery
from celery.schedules import crontab
from celery.signals import worker_process_init

from billing_worker.env import BASE_DIR, exit_if_unusable
from billing_worker.process_metrics import start_counting
from billing_worker.temporary_files import start_worker_folder, take_pool_folder

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "billing_worker.settings")
VAR_DIR = Path(os.environ.get("VAR_DIR") or BASE_DIR / "var")
start_counting(VAR_DIR)
start_worker_folder(VAR_DIR)
# A worker throws away what Django's checks find, and looking imports the console. `manage.py check` says it, and is
# part of every upgrade (docs/deploy.md).
os.environ.setdefault("CELERY_SKIP_CHECKS", "1")

app = Celery("billing_worker")


@app.on_configure.connect(weak=False)
def stop_if_unusable(**_: object) -> None:
    """Worker and beat read the settings here first: a bad environment is a list on stderr, not a stack trace."""
    exit_if_unusable()


@worker_process_init.connect(weak=False)
def separate_from_main(**_: object) -> None:
    """A process of the pool begins: what it writes goes with it, and not with the process that it was forked from."""
    take_pool_folder(VAR_DIR)


app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()

app.conf.beat_schedule = {
    "sweep-inbox": {"task": "webhooks.sweep_inbox", "schedule": 60.0},
    "backfill-events": {"task": "webhooks.backfill_events", "schedule": crontab(minute="7")},
    "prune-inbox": {"task": "webhooks.prune_inbox", "schedule": crontab(minute="40", hour="3")},
    "sweep-mirror": {"task": "mirror.sweep", "schedule": 60.0},
    "sweep-alerts": {"task": "alerts.sweep", "schedule": 60.0},
    "pull-usage": {"task": "metering.pull_usage", "schedule": crontab(minute="30", hour="1,7,13,19")},
    "roll-up-usage": {"task": "metering.roll_up_usage", "schedule": crontab(minute="*/15")},
    "send-meter-events": {"task": "metering.send_meter_events", "schedule": crontab(minute="0", hour="2")},
    "check-meter-totals": {
        "task": "metering.check_meter_totals",
        "schedule": crontab(minute="10", hour="4"),
    },
    "prune-samples": {"task": "metering.prune_samples", "schedule": crontab(minute="20", hour="4")},
    "sweep-draft-holds": {"task": "metering.sweep_draft_holds", "schedule": 60.0},
    "propose-true-ups": {"task": "metering.propose_true_ups", "schedule": crontab(minute="40", hour="2")},
    "work-true-ups": {"task": "metering.work_true_ups", "schedule": crontab(minute="*/5")},
    "check-parity": {"task": "metering.check_parity", "schedule": crontab(minute="50")},
    "bill-managed-jobs": {"task": "invoices.bill_managed_jobs", "schedule": crontab(minute="25")},
    "sweep-invoices": {"task": "invoices.sweep_invoices", "schedule": crontab(minute="*/10")},
    "extend-leases": {"task": "cohorts.extend_leases", "schedule": crontab(minute="20", hour="0")},
    "sync-customers": {"task": "cohorts.sync_customers", "schedule": crontab(minute="45")},
    "sync-subscriptions": {"task": "cohorts.sync_subscriptions", "schedule": crontab(minute="35")},
    "sweep-rollbacks": {"task": "cohorts.sweep_rollbacks", "schedule": crontab(minute="*/15")},
    "reconcile-daily": {
        "task": "reconciliation.reconcile_current_period",
        "schedule": crontab(minute="0", hour="6"),
    },
}
