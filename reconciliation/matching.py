"""Compare two ledgers of one payer and period. Pure: figures in, differences with causes out. Zero tolerance."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from billing_worker.core.money import format_minor
from billing_worker.core.rating import USAGE_TYPES
from reconciliation.ledger_lines import LedgerEntry, LedgerLine, PayerTerms
from reconciliation.matching_jobs import compare_jobs
from reconciliation.matching_usage import compare_usage
from reconciliation.states import DriftCause

#: The kinds of line that are compared, in the order in which people read them.
KINDS = ("sub", *USAGE_TYPES, "managed", "custom")


@dataclass(frozen=True, slots=True)
class Difference:
    """One kind of line on which the ledgers disagree. `difference_minor` is Stripe less legacy.

    `gross_minor` adds the absolute differences of the lines beneath, so that two errors that cancel still show. It can
    be 0 where quantities differ and the money does not (a free tier): that is a difference all the same.
    """

    kind: str
    cause: DriftCause
    legacy_minor: int
    stripe_minor: int
    gross_minor: int
    explanation: str

    @property
    def difference_minor(self) -> int:
        return self.stripe_minor - self.legacy_minor


def compare_entries(
    *, legacy: LedgerEntry | None, stripe: LedgerEntry | None, terms: PayerTerms, currency: str
) -> list[Difference]:
    """Every difference between the two sides for one payer, period and currency; empty when they agree.

    An entry with problems is not compared line by line: what can't be trusted proves nothing, so the problem itself is
    the difference. A side that bills nothing at all, or twice, is one difference of kind `invoice`.
    """
    legacy = legacy or LedgerEntry(0, currency)
    stripe = stripe or LedgerEntry(0, currency)
    whole = _find_problems(legacy, stripe) or _find_absence(legacy, stripe)
    if whole is not None:
        return [whole]
    differences = _compare_lines(legacy, stripe, terms)
    duplicate = _find_duplicate(legacy, stripe, terms) if differences else None
    return [duplicate] if duplicate else differences


def compare_handed_back(
    *, legacy: LedgerEntry | None, stripe: LedgerEntry | None, terms: PayerTerms, currency: str
) -> list[Difference]:
    """The differences of a month whose lease says legacy in so many words: legacy alone is to bill it.

    What Stripe billed of it was billed twice, or by the wrong side. That nobody billed it is a difference where the
    plan knows a fee or a job. Legacy's lines are not compared with anything: there is no second ledger for them.
    """
    legacy = legacy or LedgerEntry(0, currency)
    stripe = stripe or LedgerEntry(0, currency)
    if problem := _find_problems(legacy, stripe):
        return [problem]
    theirs, ours = legacy.total_minor, stripe.total_minor
    says = "the month was handed back to legacy"
    if _bills_money(stripe):
        cause = DriftCause.BILLED_TWICE if _bills_money(legacy) else DriftCause.MISSING_IN_LEGACY
        billed = "both" if _bills_money(legacy) else "Stripe alone"
        amounts = f"Stripe {format_minor(ours, currency)}, legacy {format_minor(theirs, currency)}"
        text = f"{says}, and {billed} billed it: {amounts}"
        return [Difference("invoice", cause, theirs, ours, _gross(stripe), text)]
    owed = sum(terms.flat_fees_minor) + sum(
        job.amount_minor for job in terms.jobs if job.is_due and not job.is_requested
    )
    if owed and not _bills_money(legacy):
        text = (
            f"{says}, and nobody billed it: the plan knows {format_minor(owed, currency)}, usage not counted"
        )
        return [Difference("invoice", DriftCause.MISSING_IN_LEGACY, theirs, ours, owed, text)]
    return []


def _compare_lines(legacy: LedgerEntry, stripe: LedgerEntry, terms: PayerTerms) -> list[Difference]:
    differences = []
    for kind in KINDS:
        theirs = [line for line in legacy.lines if _name_kind(line.kind) == kind]
        ours = [line for line in stripe.lines if _name_kind(line.kind) == kind]
        found = _compare_kind(kind, theirs, ours, terms, legacy.currency)
        if found is not None:
            cause, gross, explanation = found
            explanation += _describe_inclusive(ours, legacy.currency)
            differences.append(Difference(kind, cause, _sum(theirs), _sum(ours), gross, explanation))
    if legacy.tax_minor != stripe.tax_minor:
        differences.append(_describe_tax(legacy, stripe))
    return differences


def _describe_inclusive(stripe: Iterable[LedgerLine], currency: str) -> str:
    """What stood in Stripe's prices beside the amounts that are compared; nothing where no tax did."""
    inside = sum(line.inclusive_tax_minor for line in stripe)
    return (
        f"; Stripe's prices hold {format_minor(inside, currency)} of tax, which is left out" if inside else ""
    )


Found = tuple[DriftCause, int, str]


def _compare_kind(
    kind: str, legacy: list[LedgerLine], stripe: list[LedgerLine], terms: PayerTerms, currency: str
) -> Found | None:
    if kind in USAGE_TYPES:
        return compare_usage(kind, legacy, stripe, tiers=terms.tiers.get(kind, ()), currency=currency)
    if kind == "managed":
        return compare_jobs(legacy, stripe, jobs=terms.jobs, currency=currency)
    if sorted(line.amount_minor for line in legacy) == sorted(line.amount_minor for line in stripe):
        return None
    theirs, ours = _count_amounts(legacy), _count_amounts(stripe)
    only_legacy, only_stripe = sorted((theirs - ours).elements()), sorted((ours - theirs).elements())
    if not only_legacy and not only_stripe:
        return None
    gross = _pair(only_legacy, only_stripe)
    if kind == "sub":
        return DriftCause.FLAT_FEE_DIFFERS, gross, _explain_fees(legacy, stripe, terms, currency)
    named = [
        f"{side} billed {line.description or 'a line without a text'} at {format_minor(line.amount_minor, currency)}"
        for side, lines, extra in (("legacy", legacy, only_legacy), ("Stripe", stripe, only_stripe))
        for line in lines
        if line.amount_minor in extra
    ]
    return DriftCause.CUSTOM_LINE, gross, f"{'; '.join(named)}: no plan table holds it"


def _name_kind(kind: str) -> str:
    """The kind under which a difference is kept: lines that no plan knows are all `custom`."""
    return kind if kind in KINDS else "custom"


def _sum(lines: Iterable[LedgerLine]) -> int:
    return sum(line.amount_minor for line in lines)


def _count_amounts(lines: Iterable[LedgerLine]) -> Counter[int]:
    """How often each amount was billed: Stripe puts equal fees of a family on one line with a quantity."""
    amounts: Counter[int] = Counter()
    for line in lines:
        times = line.quantity if line.quantity > 1 and line.amount_minor % line.quantity == 0 else 1
        amounts[line.amount_minor // times] += times
    del amounts[0]
    return amounts


def _pair(legacy: list[int], stripe: list[int]) -> int:
    """The absolute differences, largest against largest, what is left over against nothing."""
    size = max(len(legacy), len(stripe))
    theirs = sorted(legacy + [0] * (size - len(legacy)))
    ours = sorted(stripe + [0] * (size - len(stripe)))
    return sum(abs(own - other) for own, other in zip(ours, theirs, strict=True))


def _explain_fees(
    legacy: list[LedgerLine], stripe: list[LedgerLine], terms: PayerTerms, currency: str
) -> str:
    expected, theirs, ours = sum(terms.flat_fees_minor), _sum(legacy), _sum(stripe)
    verdict = "neither side follows it"
    if theirs == ours:
        verdict = "the totals agree, the single fees do not"
    elif expected == ours:
        verdict = "Stripe follows it, legacy does not"
    elif expected == theirs:
        verdict = "legacy follows it, Stripe does not"
    return f"the imported plan says {format_minor(expected, currency)}: {verdict}"


def _describe_tax(legacy: LedgerEntry, stripe: LedgerEntry) -> Difference:
    theirs, ours = legacy.tax_minor, stripe.tax_minor
    text = (
        f"legacy taxed {format_minor(theirs, legacy.currency)}, Stripe {format_minor(ours, legacy.currency)}"
    )
    return Difference("tax", DriftCause.TAX_DIFFERS, theirs, ours, abs(ours - theirs), text)


def _find_problems(legacy: LedgerEntry, stripe: LedgerEntry) -> Difference | None:
    problems = (*legacy.problems, *stripe.problems)
    if not problems:
        return None
    theirs, ours = legacy.total_minor, stripe.total_minor
    return Difference(
        "invoice", DriftCause.LEDGER_INCOMPLETE, theirs, ours, abs(ours - theirs), "; ".join(problems)
    )


def _find_absence(legacy: LedgerEntry, stripe: LedgerEntry) -> Difference | None:
    """One side asks for money, the other has no line with any."""
    theirs, ours = legacy.total_minor, stripe.total_minor
    has_legacy, has_stripe = _bills_money(legacy), _bills_money(stripe)
    if has_legacy and not has_stripe:
        text = f"legacy billed {format_minor(theirs, legacy.currency)}, Stripe has nothing to pay for this period"
        return Difference("invoice", DriftCause.MISSING_IN_STRIPE, theirs, ours, _gross(legacy), text)
    if has_stripe and not has_legacy:
        text = (
            f"Stripe billed {format_minor(ours, stripe.currency)}, legacy has nothing to pay for this period"
        )
        return Difference("invoice", DriftCause.MISSING_IN_LEGACY, theirs, ours, _gross(stripe), text)
    return None


def _bills_money(entry: LedgerEntry) -> bool:
    return any(line.amount_minor for line in entry.lines) or any(entry.taxes.values())


def _gross(entry: LedgerEntry) -> int:
    return max(abs(entry.total_minor), sum(abs(line.amount_minor) for line in entry.lines))


def _find_duplicate(legacy: LedgerEntry, stripe: LedgerEntry, terms: PayerTerms) -> Difference | None:
    """Legacy has several invoices, each of which alone is exactly what Stripe billed."""
    numbers = legacy.invoices
    if len(numbers) < 2:
        return None
    if any(_compare_lines(legacy.narrow(number), stripe, terms) for number in numbers):
        return None
    theirs, ours = legacy.total_minor, stripe.total_minor
    text = (
        f"legacy billed the same {len(numbers)} times, on {', '.join(numbers)}: "
        f"{format_minor(theirs - ours, legacy.currency)} too much"
    )
    return Difference("invoice", DriftCause.DUPLICATE_IN_LEGACY, theirs, ours, abs(ours - theirs), text)
