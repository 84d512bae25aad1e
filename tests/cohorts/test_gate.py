"""Each condition of the gate, met and not met."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest

from billing_worker.accounts.models import BillingLease
from billing_worker.accounts.states import Biller
from cohorts.gate import GateReport, evaluate_gate
from cohorts.models import Cohort, CohortMember
from cohorts.services import open_gate, reconcile_cohort
from cohorts.services.lifecycle import GateClosed, WrongCohortState
from cohorts.states import CohortState
from invoices.models import InvoiceMail
from metering.models import ParityCheck, UsageFeed, UsageRecord
from reconciliation.models import Drift
from tests.cohorts.factories import NOW, Month, add_member, make_cohort

pytestmark = [
    pytest.mark.django_db(databases=["default", "legacy"]),
    pytest.mark.usefixtures("legacy_tables"),
]


def look(cohort: Cohort, now: datetime = NOW) -> GateReport:
    report = evaluate_gate(cohort=cohort, now=now)
    assert report is not None
    return report


def failed(report: GateReport) -> dict[str, str]:
    return {check.name: check.detail for check in report.checks if not check.passed}


def test_a_clean_month_opens_the_gate_and_freezes_the_evidence():
    cohort = make_cohort()
    assert failed(look(cohort)) == {}
    cohort, report = open_gate(cohort_id=cohort.pk, actor="test", now=NOW)
    assert (cohort.state, cohort.clean_at) == (CohortState.CLEAN, NOW)
    assert cohort.evidence_hash == report.evidence_hash
    assert len(cohort.evidence_hash) == 64
    assert [(row["legacy_minor"], row["stripe_minor"]) for row in cohort.evidence["results"]] == [
        (49900, 49900),
        (14900, 14900),
    ]


def test_the_evidence_is_the_same_whoever_looks_and_whenever():
    cohort = make_cohort()
    first = look(cohort)
    reconcile_cohort(cohort_id=cohort.pk, actor="test", now=NOW)
    later = look(Cohort.objects.get(pk=cohort.pk), datetime(2026, 12, 24, tzinfo=UTC))
    assert later.evidence_hash == first.evidence_hash
    assert later.reconciled != first.reconciled, "another run"


def test_a_cohort_without_a_period_has_no_gate():
    assert evaluate_gate(cohort=Cohort(name="draft", created_at=NOW), now=NOW) is None


def test_one_cent_of_drift_keeps_it_shut():
    cohort = make_cohort(Month("Tern & Co", 14900, 14901))
    assert failed(look(cohort)) == {
        "Zero drift": f"1 drift: {Drift.objects.get().account_id} flat fee differs 0.01 USD"
    }
    with pytest.raises(GateClosed, match=r"Zero drift: 1 drift"):
        open_gate(cohort_id=cohort.pk, actor="test", now=NOW)
    cohort.refresh_from_db()
    assert (cohort.state, cohort.evidence_hash) == (CohortState.DUAL_RUN, "")


def test_many_drifts_are_counted_and_the_first_are_named():
    cohort = make_cohort(*(Month(f"Example {number}", 100, 101) for number in range(7)))
    detail = failed(look(cohort))["Zero drift"]
    assert detail.startswith("7 drifts: ")
    assert detail.count("flat fee differs 0.01 USD") == 5
    assert detail.endswith("; and 2 more")


def test_not_reconciled_or_not_all_of_it():
    cohort = make_cohort(reconciled=False)
    assert "run reconcile --period 2026-10" in failed(look(cohort))["Zero drift"]
    reconcile_cohort(cohort_id=cohort.pk, actor="test", now=NOW)
    late = add_member(cohort, Month("Latecomer", 100, 100), number=77)
    assert f"did not cover account {late.pk}" in failed(look(cohort))["Zero drift"]


def test_not_provisioned():
    cohort = make_cohort()
    CohortMember.objects.filter(pk=cohort.members.earliest("pk").pk).update(
        provisioning="customer", provisioned_at=None
    )
    assert failed(look(cohort)) == {
        "Provisioned at Stripe": "1 of 2 members have their customer and subscription"
    }


def test_a_period_that_still_runs():
    cohort = make_cohort()
    assert failed(look(cohort, datetime(2026, 10, 31, 23, 59, 59, tzinfo=UTC))) == {
        "Dual-run period is over": "2026-10 ends at 2026-11-01 00:00 UTC"
    }


def test_a_lease_that_says_legacy():
    cohort = make_cohort()
    BillingLease.objects.filter(account=cohort.members.earliest("pk").account).update(biller=Biller.LEGACY)
    assert failed(look(cohort)) == {"Billed by Stripe alone": "1 of 2 leases for 2026-10 say Stripe"}


def test_usage_that_is_not_with_stripe():
    cohort = make_cohort()
    feed = UsageFeed.objects.create(
        account=cohort.members.earliest("pk").account, period="2026-10", granularity="day"
    )
    UsageRecord.objects.create(
        feed=feed, bucket_date=date(2026, 10, 5), usage_type="ST", revision=0, quantity=10, delta=10,
        author="test", received_at=NOW,
    )  # fmt: skip
    assert failed(look(cohort)) == {"Usage is all sent": "not with Stripe yet: 1 usage figure"}


def check_hourly(*states: str, until: datetime = NOW, source: str = "http") -> None:
    """One scheduled parity check an hour, the last one at `until`."""
    for age, state in enumerate(reversed(states)):
        ParityCheck.objects.create(
            source=source,
            window_start_at=datetime(2026, 10, 30, tzinfo=UTC),
            window_end_at=datetime(2026, 10, 31, tzinfo=UTC),
            is_scheduled=True,
            state=state,
            breaches=int(state == "breach"),
            detail="no answer" if state == "failed" else "",
            checked_at=until - timedelta(hours=age),
        )


@pytest.fixture
def compared(settings):
    """An installation that compares usage with the other side and asks for three clean hours."""
    settings.ENV = settings.ENV.model_copy(update={"PARITY_SOURCE": "http", "PARITY_CLEAN_HOURS": 3})


def test_nothing_is_compared():
    report = look(make_cohort())
    assert "Usage parity" not in {check.name for check in report.checks}
    assert report.not_asked == ("Usage parity: nothing is compared here (PARITY_SOURCE is empty)",)


@pytest.mark.usefixtures("compared")
@pytest.mark.parametrize(
    ("states", "detail"),
    [
        ([], "clean for 0 hours in 0 checks against http; 3 asked for"),
        (["clean"] * 3, "clean for 2 hours in 3 checks against http; 3 asked for"),
        (["clean"] * 9 + ["breach"], "clean for 0 hours in 0 checks against http; 3 asked for"),
        (["failed"] + ["clean"] * 2, "clean for 1 hour in 2 checks against http; 3 asked for"),
    ],
)
def test_parity_that_has_not_been_clean_for_long_enough(states, detail):
    check_hourly(*states)
    report = look(make_cohort())
    assert failed(report) == {"Usage parity": detail}
    assert report.not_asked == ()


@pytest.mark.usefixtures("compared")
def test_clean_hours_of_another_source_do_not_count():
    check_hourly(*["clean"] * 9, source="csv")
    assert "Usage parity" in failed(look(make_cohort()))


@pytest.mark.usefixtures("compared")
def test_a_streak_that_grows_changes_nothing_that_was_signed_for_and_a_breach_does():
    cohort = make_cohort()
    check_hourly(*["clean"] * 4)
    first = look(cohort)
    assert failed(first) == {}
    check_hourly("clean", until=NOW + timedelta(hours=1))
    assert look(cohort, NOW + timedelta(hours=1)).evidence_hash == first.evidence_hash
    check_hourly("breach", until=NOW + timedelta(hours=2))
    assert look(cohort, NOW + timedelta(hours=2)).evidence_hash != first.evidence_hash


@pytest.mark.parametrize("state", ["queued", "unknown", "failed"])
def test_an_invoice_that_was_not_mailed(state):
    cohort = make_cohort()
    InvoiceMail.objects.filter(pk=InvoiceMail.objects.earliest("pk").pk).update(state=state, sent_at=None)
    assert failed(look(cohort)) == {"Invoices are delivered": "not delivered: 1 invoice"}


@pytest.mark.parametrize("state", [CohortState.DRAFT, CohortState.READY, CohortState.MIGRATED])
def test_only_a_dual_run_can_end_in_a_clean_cycle(state):
    cohort = make_cohort()
    Cohort.objects.filter(pk=cohort.pk).update(
        state=state,
        clean_at=NOW,
        evidence_hash="0" * 64,
        migrated_at=NOW if state == CohortState.MIGRATED else None,
    )
    with pytest.raises(WrongCohortState, match="can't become clean cycle"):
        open_gate(cohort_id=cohort.pk, actor="test", now=NOW)
