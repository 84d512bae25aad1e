"""The invoice list by cohort and by drift."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from django.urls import reverse

from cohorts.models import Cohort, CohortMember
from reconciliation.models import Drift, ReconciliationRun
from tests.invoices.factories import make_document, make_invoice

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 11, 2, tzinfo=UTC)


def list_numbers(client, query: str) -> set[str]:
    page = client.get(reverse("admin:invoices_invoicedocument_changelist") + query)
    assert page.status_code == 200
    return {document.number for document in page.context["cl"].result_list}


def test_documents_are_found_by_cohort_and_by_open_drift_of_their_month(admin_client):
    inside = make_document(make_invoice(number="IN-1"))
    outside = make_document(make_invoice(number="OUT-1"))
    cohort = Cohort.objects.create(name="first", created_at=NOW)
    CohortMember.objects.create(cohort=cohort, account=inside.account)
    run = ReconciliationRun.objects.create(period="2026-10", started_at=NOW)
    for account, period, state in (
        (outside.account, "2026-10", "open"),
        (inside.account, "2026-09", "open"),
        (inside.account, "2026-10", "accepted"),
    ):
        Drift.objects.create(
            account=account, period=period, currency="usd", kind="ST", state=state, cause="rounding",
            explanation="x", legacy_minor=1, stripe_minor=0, gross_minor=1, accepted_reason="known",
            first_run=run, last_run=run,
        )  # fmt: skip
    assert list_numbers(admin_client, "") == {"IN-1", "OUT-1"}
    assert list_numbers(admin_client, "?cohort=first") == {"IN-1"}
    assert list_numbers(admin_client, "?drift=open") == {"OUT-1"}
    assert list_numbers(admin_client, "?drift=none") == {"IN-1"}
