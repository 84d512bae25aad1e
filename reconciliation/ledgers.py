"""Read each side's ledger into `LedgerEntry`s, keyed by payer and currency, in a bounded number of queries.

Legacy bills a month on that month's invoice. Stripe bills the flat fee in advance and usage in arrears, and what came
late on a true-up's item, so one month stands on several invoices: its ledger is read by each line's own service period,
never by the invoice's. Credit notes take back from the lines that they name (see `corrections`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import groupby

from billing_worker.accounts.models import Account, ManagedJob
from billing_worker.accounts.selectors import get_families, get_terms_for, select_jobs_due
from billing_worker.accounts.states import JobSource
from billing_worker.accounts.terms import AccountTerms
from billing_worker.catalog.sampled.charging import SampledCharges, charge_sampled_units, read_sampled_units
from billing_worker.catalog.selectors import get_sampled_products
from billing_worker.core.errors import InvalidInput
from billing_worker.core.money import to_minor, to_minor_decimal
from billing_worker.core.periods import Period
from billing_worker.core.rating import USAGE_TYPES, prorate_flat
from billing_worker.legacy.descriptions import get_job_id
from billing_worker.legacy.models import LegacyInvoiceLine
from billing_worker.legacy.selectors import LegacyBill, get_bills
from billing_worker.mirror.models import StripeCreditNote, StripeCreditNoteLine, StripeInvoiceLine
from billing_worker.mirror.states import InvoiceStatus, LineKind
from reconciliation.corrections import (
    describe_credit,
    merge_corrected,
    read_inclusive_percent,
    reduce_line,
    select_credits,
    split_true_up,
    split_true_up_credit,
)
from reconciliation.ledger_lines import JobTerms, LedgerEntry, LedgerLine, PayerTerms

#: Stripe invoices that ask for money or had it. A void one is taken back, a draft not billed yet.
BILLED_STATUSES = (InvoiceStatus.OPEN, InvoiceStatus.PAID, InvoiceStatus.UNCOLLECTIBLE)
PER_MILLE = Decimal(1000)
#: Ids in one query: below every database's limit of parameters.
BATCH = 5_000

LedgerKey = tuple[int, str]


@dataclass(frozen=True, slots=True)
class PayerContext:
    """A payer's currency and what its plan, its children's and their jobs say it owes."""

    currency: str
    terms: PayerTerms


@dataclass(slots=True)
class _Draft:
    """An entry while its lines are gathered, with the taxes in their prices. `positions` finds a Stripe line in them.

    Those taxes are taken out at the end, when what corrects a line has met it. Sampled lines keep them: they are held
    against the prices that Stripe has, tax included.
    """

    lines: list[LedgerLine] = field(default_factory=list)
    positions: dict[str, int] = field(default_factory=dict)
    taxes: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))
    problems: dict[str, None] = field(default_factory=dict)
    sampled_tax_minor: int = 0

    def build(self, key: LedgerKey) -> LedgerEntry:
        return LedgerEntry(
            *key,
            lines=tuple(line.take_tax_out() for line in self.lines if line.kind != LineKind.SAMPLED),
            taxes=dict(self.taxes),
            problems=tuple(self.problems),
            sampled=tuple(line for line in self.lines if line.kind == LineKind.SAMPLED),
            sampled_tax_minor=self.sampled_tax_minor,
        )


def read_legacy_ledger(*, period: Period, payer_ids: Collection[int]) -> dict[LedgerKey, LedgerEntry]:
    """What the old service billed for the period: every invoice of it that is not void.

    Invoices of accounts that bill through a payer count as the payer's, wherever legacy put them. An invoice that
    contradicts its own lines becomes a problem of its entry.

    Raises:
        LegacyUnavailable: the old database can't be read.
    """
    drafts: defaultdict[LedgerKey, _Draft] = defaultdict(_Draft)
    for batch in _split(payer_ids):
        payer_of = {pk: payer_id for payer_id, family in get_families(batch).items() for pk in family}
        for bill in get_bills(period, account_ids=payer_of):
            draft = drafts[payer_of[bill.invoice.acct_id], bill.invoice.currency.lower()]
            try:
                _check_totals(bill)
                draft.lines += [_from_legacy_line(line, bill) for line in bill.lines]
                draft.taxes[bill.invoice.invoice_no] += to_minor(bill.invoice.tax, bill.invoice.currency)
            except InvalidInput as error:
                draft.problems[f"legacy invoice {bill.invoice.invoice_no}: {error}"] = None
    return {key: draft.build(key) for key, draft in drafts.items()}


def _check_totals(bill: LegacyBill) -> None:
    """Raises InvalidInput if the lines, the subtotal, the tax and the total don't add up."""
    invoice, total = bill.invoice, sum((line.amount for line in bill.lines), Decimal(0))
    if total != invoice.subtotal or invoice.subtotal + invoice.tax != invoice.total:
        raise InvalidInput(
            f"lines {total}, subtotal {invoice.subtotal}, tax {invoice.tax} and total {invoice.total} don't add up"
        )


def _from_legacy_line(line: LegacyInvoiceLine, bill: LegacyBill) -> LedgerLine:
    currency = bill.invoice.currency
    rate = to_minor_decimal(line.unit_rate, currency)
    return LedgerLine(
        kind=line.kind,
        amount_minor=to_minor(line.amount, currency),
        quantity=line.quantity,
        unit_amount_decimal=rate / PER_MILLE if line.kind in USAGE_TYPES else rate,
        description=line.description,
        invoice=bill.invoice.invoice_no,
        job_id=get_job_id(line),
    )


def read_stripe_ledger(*, period: Period, payer_ids: Collection[int]) -> dict[LedgerKey, LedgerEntry]:
    """What Stripe billed for the period, by the service period of each line of a finalized invoice.

    A draft with lines of the period, and an invoice whose lines are not all mirrored, become problems of their entry.
    """
    drafts: defaultdict[LedgerKey, _Draft] = defaultdict(_Draft)
    event_names = get_sampled_products()
    for batch in _split(payer_ids):
        rows = (
            StripeInvoiceLine.objects.filter(
                invoice__account_id__in=batch,
                invoice__status__in=[*BILLED_STATUSES, InvoiceStatus.DRAFT],
                period_start__gte=period.start_at,
                period_start__lt=period.end_at,
            )
            .select_related("invoice")
            .order_by("invoice_id", "position")
        )
        for row in rows.iterator(chunk_size=2_000):
            assert row.invoice.account_id is not None, "filtered by account above"
            _add_stripe_line(drafts[row.invoice.account_id, row.currency.lower()], row, event_names)
        credit_lines = select_credits(period, payer_ids=batch).iterator(chunk_size=2_000)
        for note, group in groupby(credit_lines, key=lambda credit: credit.credit_note):
            assert note.account_id is not None, "filtered by account"
            _add_credit_note(drafts[note.account_id, note.currency.lower()], note, list(group))
    for draft in drafts.values():
        draft.lines = merge_corrected(draft.lines)
    return {key: draft.build(key) for key, draft in drafts.items()}


def _add_stripe_line(draft: _Draft, row: StripeInvoiceLine, event_names: Mapping[str, str]) -> None:
    name = row.invoice.number or row.invoice.stripe_invoice_id
    if row.invoice.status == InvoiceStatus.DRAFT:
        draft.problems[f"Stripe's invoice {name} is still a draft"] = None
        return
    if not row.invoice.lines_complete:
        draft.problems[f"not every line of Stripe's invoice {name} is mirrored"] = None
    line = LedgerLine(
        kind=row.kind,
        amount_minor=row.amount_minor - row.discount_minor,
        quantity=row.quantity or 0,
        unit_amount_decimal=row.unit_amount_decimal,
        description=row.description,
        invoice=name,
        job_id=_parse_job_id(row.metadata),
        event_name=event_names.get(row.product) or str(row.metadata.get("meter", "")),
        inclusive_tax_minor=row.inclusive_tax_minor,
        inclusive_percent=read_inclusive_percent(row.taxes),
    )
    draft.positions[row.stripe_line_id] = len(draft.lines)
    draft.lines += split_true_up(line, row.metadata) if row.invoice_item else [line]
    if row.kind == LineKind.SAMPLED:
        draft.sampled_tax_minor += row.tax_minor - row.inclusive_tax_minor
        return
    draft.taxes[name] += row.tax_minor


def _add_credit_note(draft: _Draft, note: StripeCreditNote, credit_lines: list[StripeCreditNoteLine]) -> None:
    """Take a credit note's lines of the month back: a true-up's by its tiers, others from the lines that they name."""
    if not note.lines_complete:
        draft.problems[f"not every line of Stripe's credit note {note} is mirrored"] = None
    tiers = split_true_up_credit(note, credit_lines)
    if tiers is None:
        for credit in credit_lines:
            _add_credit(draft, credit)
        return
    draft.lines += tiers
    for credit in credit_lines:
        _take_tax_back(draft, tiers[0], credit)


def _add_credit(draft: _Draft, credit: StripeCreditNoteLine) -> None:
    """Take a credit note's line back from the line that it names, else note it as a line of its own."""
    position = draft.positions.get(credit.invoice_line)
    if position is None:
        line = describe_credit(credit)
        draft.lines.append(line)
    else:
        line = draft.lines[position] = reduce_line(draft.lines[position], credit)
    _take_tax_back(draft, line, credit)


def _take_tax_back(draft: _Draft, line: LedgerLine, credit: StripeCreditNoteLine) -> None:
    if line.kind == LineKind.SAMPLED:
        draft.sampled_tax_minor -= credit.tax_minor - credit.inclusive_tax_minor
    else:
        draft.taxes[line.invoice] -= credit.tax_minor


def _parse_job_id(metadata: Mapping[str, str]) -> int | None:
    text = str(metadata.get("job_id", ""))
    return int(text) if text.isascii() and text.isdigit() else None


def read_payer_terms(*, period: Period, payer_ids: Collection[int]) -> dict[int, PayerContext]:
    """The plan as imported, by payer, with the accounts that are billed through it."""
    contexts: dict[int, PayerContext] = {}
    for batch in _split(payer_ids):
        families = get_families(batch)
        member_ids = [pk for family in families.values() for pk in family]
        terms, jobs = get_terms_for(period, account_ids=member_ids), _read_jobs(period, member_ids)
        for payer in Account.objects.filter(pk__in=batch).only("pk", "currency"):
            family = families[payer.pk]
            fees = [fee for pk in family if (fee := _get_flat_fee(terms[pk])) is not None]
            own = terms[payer.pk]
            contexts[payer.pk] = PayerContext(
                currency=payer.currency,
                terms=PayerTerms(
                    flat_fees_minor=tuple(fees),
                    tiers={} if own.is_suspended else {kind: own.tiers[kind] for kind in own.tiers},
                    jobs=tuple(job for pk in family for job in jobs[pk]),
                ),
            )
    return contexts


def read_sampled_ledger(
    *, period: Period, payer_ids: Collection[int]
) -> dict[LedgerKey, tuple[SampledCharges, ...]]:
    """What our own samples of the period come to by the configured prices, for payers that used any.

    Of members whose usage is billed: open in the month and not suspended, under a payer that is not either.
    """
    found: dict[LedgerKey, tuple[SampledCharges, ...]] = {}
    for batch in _split(payer_ids):
        families = get_families(batch)
        member_ids = [pk for family in families.values() for pk in family]
        units = read_sampled_units(period, account_ids=member_ids)
        if not units:
            continue
        terms = get_terms_for(period, account_ids=member_ids)
        for payer in Account.objects.filter(pk__in=batch).only("pk", "currency"):
            billed = {pk for pk in families[payer.pk] if _bills_usage(terms[pk], terms[payer.pk])}
            totals: defaultdict[str, int] = defaultdict(int)
            for (account_id, event_name), count in units.items():
                totals[event_name] += count if account_id in billed else 0
            currency = payer.currency.lower()
            if charges := charge_sampled_units(totals, currencies=[currency])[currency]:
                found[payer.pk, currency] = tuple(charges)
    return found


def _bills_usage(own: AccountTerms, payer: AccountTerms) -> bool:
    return own.is_billable and not own.is_suspended and not payer.is_suspended


def _get_flat_fee(terms: AccountTerms) -> int | None:
    if terms.flat_unit_amount_decimal is None:
        return None
    start = terms.start_date or terms.period.start_date
    return prorate_flat(terms.flat_unit_amount_decimal, period=terms.period, start_date=start)


def _read_jobs(period: Period, account_ids: Collection[int]) -> defaultdict[int, list[JobTerms]]:
    due = set(select_jobs_due(period, account_ids=account_ids).values_list("pk", flat=True))
    jobs: defaultdict[int, list[JobTerms]] = defaultdict(list)
    for job in ManagedJob.objects.filter(account_id__in=account_ids).order_by("pk"):
        jobs[job.account_id].append(
            JobTerms(
                job_id=job.pk,
                title=job.title,
                amount_minor=job.amount_minor,
                is_due=job.pk in due,
                is_requested=job.source == JobSource.REQUEST,
            )
        )
    return jobs


def _split(ids: Collection[int]) -> Iterator[list[int]]:
    ordered = sorted(ids)
    return (ordered[first : first + BATCH] for first in range(0, len(ordered), BATCH))
