"""The console's index: where every cohort stands, and what needs a person today. Reads only."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.db.models import Count, Q, Sum
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone

from billing_worker.accounts.models import AuditEntry
from billing_worker.accounts.pages import find_page, find_pages
from billing_worker.alerts.models import Alert
from billing_worker.alerts.selectors import list_open_alerts
from billing_worker.core.money import format_minor
from billing_worker.core.periods import Period
from billing_worker.mirror.models import StripeInvoiceLine
from billing_worker.mirror.states import InvoiceStatus
from billing_worker.webhooks.selectors import count_states
from billing_worker.webhooks.states import InboxState
from cohorts.models import Cohort
from cohorts.states import SIGNATURES_NEEDED
from invoices.attention import NEEDS, find_needing_once
from invoices.models import InvoiceDocument, InvoiceMail, ManagedCharge
from invoices.states import ChargeState, DocumentState, MailState
from metering.selectors import count_events_by_state
from metering.states import EventState
from reconciliation.models import Drift, ReconciliationRun
from reconciliation.states import DriftState, RunState

ALERTS_SHOWN = 5
HISTORY_SHOWN = 8
#: Written for each account of a step that has an entry of its own: they would fill the history.
EACH_ACCOUNTS = ("lease.biller_set", "rollback.payer_handed_back", "rollback.payer_goes_on")
BILLED = (InvoiceStatus.OPEN, InvoiceStatus.PAID, InvoiceStatus.UNCOLLECTIBLE)


@dataclass(frozen=True, slots=True)
class Card:
    """One figure, or one for each currency, that leads to what it counts. `tone` is ok, bad, or nothing."""

    title: str
    amounts: tuple[str, ...]
    detail: str
    link: str
    tone: str = ""


@dataclass(frozen=True, slots=True)
class Waiting:
    """So many of something wait for a person; the link leads to exactly those."""

    count: int
    title: str
    advice: str
    link: str


@dataclass(frozen=True, slots=True)
class CohortRow:
    """A cohort at a glance."""

    cohort: Cohort
    accounts: int
    open_drifts: int
    is_reconciled: bool
    signatures: int


def build_index(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """What Unfold puts on the index for this person: only what the person may look at."""
    period = _choose_period()
    user = request.user
    may_see = {
        name: user.has_perm(permission)
        for name, permission in (
            ("cohorts", "cohorts.view_cohort"),
            ("alerts", "alerts.view_alert"),
            ("audit", "accounts.view_auditentry"),
        )
    }
    return {
        **context,
        "title": "Overview",
        "period": period,
        "cards": list(_build_cards(request, period)) if may_see["cohorts"] else [],
        "waiting": list(_list_waiting(request)) if may_see["cohorts"] else [],
        "cohort_rows": _build_cohort_rows() if may_see["cohorts"] else [],
        "signatures_needed": SIGNATURES_NEEDED,
        "open_alerts": _list_alerts() if may_see["alerts"] else [],
        "history": _list_history() if may_see["audit"] else [],
        "may_see": may_see,
    }


def get_environment_label(request: HttpRequest) -> list[str] | None:
    """A badge in the header: whether money is real here."""
    if not settings.ENV.STRIPE_SECRET_KEY:
        return ["No Stripe key", "warning"]
    return ["Live", "danger"] if settings.STRIPE_LIVE_MODE else ["Test mode", "info"]


def count_open_drifts(request: HttpRequest) -> int:
    """Badge of the sidebar."""
    return Drift.objects.filter(state=DriftState.OPEN).count()


def count_documents_waiting(request: HttpRequest) -> int:
    """Badge of the sidebar."""
    return _count_documents(request)


def _count_documents(request: HttpRequest) -> int:
    return len(set().union(*find_needing_once(request).values()))


def count_alerts(request: HttpRequest) -> int:
    """Badge of the sidebar."""
    return list_open_alerts().count()


def _list_history() -> list[tuple[AuditEntry, str]]:
    """The newest entries, each with the page of what it is about."""
    entries = AuditEntry.objects.exclude(action__in=EACH_ACCOUNTS)[:HISTORY_SHOWN]
    return [(entry, find_page(entry.subject_type, entry.subject_id)) for entry in entries]


def _list_alerts() -> list[tuple[Alert, str]]:
    """The newest open alerts, each with the page on which something can be done about it."""
    alerts = list_open_alerts()[:ALERTS_SHOWN]
    return [
        (alert, next((page for _, page in find_pages(alert.context)), ""))
        for alert in alerts
    ]  # fmt: skip


def _list_waiting(request: HttpRequest) -> Iterator[Waiting]:
    """What of the invoices needs a person; nothing is a good day."""
    documents = reverse("admin:invoices_invoicedocument_changelist")
    needing = find_needing_once(request)
    for need in NEEDS:
        if needing[need.key]:
            yield Waiting(len(needing[need.key]), need.title, need.advice, f"{documents}?needs={need.key}")
    refused = ManagedCharge.objects.filter(state=ChargeState.REJECTED).count()
    if refused:
        yield Waiting(
            refused,
            "Managed service refused by Stripe",
            "Mend the cause and try again, or give it up.",
            f"{reverse('admin:invoices_managedcharge_changelist')}?state__exact={ChargeState.REJECTED}",
        )


def _choose_period() -> Period:
    """The last month that was reconciled, else the last complete one."""
    newest = (
        ReconciliationRun.objects.filter(state=RunState.FINISHED)
        .order_by("-period")
        .values_list("period", flat=True)
        .first()
    )
    return Period.parse(newest) if newest else Period.of(timezone.now()).previous()


def _build_cards(request: HttpRequest, period: Period) -> Iterator[Card]:
    yield build_billed_card(period)
    yield _build_delivery_card(request, period)
    yield _build_usage_card(period)
    open_drifts = Drift.objects.filter(state=DriftState.OPEN).count()
    yield Card(
        "Open drifts",
        (f"{open_drifts:,}",),
        "differences that nobody has taken on" if open_drifts else "no difference waits for anyone",
        reverse("admin:reconciliation_drift_changelist") + "?state__exact=open",
        "bad" if open_drifts else "ok",
    )
    states = count_states()
    waiting, failed = states[InboxState.RECEIVED] + states[InboxState.PROCESSING], states[InboxState.FAILED]
    yield Card(
        "Stripe events",
        (f"{sum(states.values()):,}",),
        f"{waiting:,} waiting, {failed:,} failed",
        reverse("admin:webhooks_inboxevent_changelist"),
        "bad" if failed else "",
    )


def build_billed_card(period: Period) -> Card:
    """What Stripe billed for a month's service by currency: after discounts, without any tax."""
    lines = StripeInvoiceLine.objects.filter(
        invoice__status__in=BILLED,
        invoice__account__isnull=False,
        period_start__gte=period.start_at,
        period_start__lt=period.end_at,
    )
    net = Sum("amount_minor") - Sum("discount_minor") - Sum("inclusive_tax_minor")
    sums = lines.order_by().values_list("currency").annotate(amount=net)
    amounts = [format_minor(amount, currency) for currency, amount in sums.order_by("currency")]
    accounts = lines.values("invoice__account").distinct().count()
    return Card(
        f"Billed by Stripe for {period}",
        tuple(amounts) or ("nothing",),
        f"service of {accounts:,} payers, before tax",
        reverse("admin:mirror_stripeinvoice_changelist"),
    )


def _build_delivery_card(request: HttpRequest, period: Period) -> Card:
    stored = InvoiceDocument.objects.filter(period__gte=str(period), state=DocumentState.STORED).count()
    mails = InvoiceMail.objects.filter(document__period__gte=str(period))
    counted = Counter(dict(mails.order_by().values_list("state").annotate(count=Count("pk"))))
    sent = counted[MailState.SENT] + counted[MailState.DELIVERED]
    waiting = _count_documents(request)
    return Card(
        "Invoice PDFs",
        (f"{stored:,}",),
        f"{sent:,} mailed since {period}, {waiting:,} documents wait for a person",
        reverse("admin:invoices_invoicedocument_changelist") + ("?needs=any" if waiting else ""),
        "bad" if waiting else "",
    )


def _build_usage_card(period: Period) -> Card:
    events = Counter(count_events_by_state(period))
    refused = events[EventState.REJECTED] + events[EventState.EXPIRED]
    waiting = sum(events[state] for state in (EventState.PENDING, EventState.SENDING, EventState.UNRESOLVED))
    return Card(
        f"Meter events for {period}",
        (f"{events[EventState.SENT]:,}",),
        f"sent; {waiting:,} waiting, {refused:,} refused or too old",
        reverse("admin:metering_meterevent_changelist") + f"?period={period}",
        "bad" if refused else "",
    )


def _build_cohort_rows() -> list[CohortRow]:
    reconciled = set(
        ReconciliationRun.objects.filter(state=RunState.FINISHED).values_list("scope", "period").distinct()
    )
    cohorts = Cohort.objects.annotate(member_count=Count("members")).prefetch_related("sign_offs")
    rows = []
    for cohort in cohorts:
        drifts = Drift.objects.filter(
            ~Q(state=DriftState.RESOLVED),
            period=cohort.dual_run_period,
            account__cohort_members__cohort=cohort,
        )
        signatures = sum(
            sign.voided_at is None and sign.evidence_hash == cohort.evidence_hash
            for sign in cohort.sign_offs.all()
        )
        rows.append(
            CohortRow(
                cohort=cohort,
                accounts=cohort.member_count,
                open_drifts=drifts.count(),
                is_reconciled=bool(
                    {(cohort.name, cohort.dual_run_period), ("", cohort.dual_run_period)} & reconciled
                ),
                signatures=signatures,
            )
        )
    return rows
