"""Two ledgers of one payer meet: what is the same, what differs, by how much, and why. Amounts worked out by hand."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciliation.ledger_lines import JobTerms, LedgerEntry, LedgerLine, PayerTerms
from reconciliation.matching import Difference, compare_entries
from reconciliation.matching_jobs import add_requested_jobs
from reconciliation.states import DriftCause
from tests.reconciliation.lines import custom, fee, job, ledger, terms, usage

TIERS = {"ST": ((100_000, "0"), (1_000_000, "0.24"), (None, "0.19"))}


def compare(
    legacy: LedgerEntry | None,
    stripe: LedgerEntry | None,
    plan: PayerTerms | None = None,
    currency: str = "usd",
) -> list[Difference]:
    return compare_entries(legacy=legacy, stripe=stripe, terms=plan or PayerTerms(), currency=currency)


def one(differences: list[Difference]) -> tuple[str, DriftCause, int, int]:
    (found,) = differences
    return found.kind, found.cause, found.difference_minor, found.gross_minor


class TestNoDifference:
    def test_the_same_lines_in_another_order_on_two_invoices(self):
        legacy = ledger(
            fee(49900), usage("ST", 100_000, "0", 0), usage("ST", 250_000, "0.24", 60000), job(7, 125000)
        )
        stripe = ledger(
            fee(49900, invoice="S-1"),
            job(7, 125000, invoice="S-2"),
            usage("ST", 250_000, "0.240000000000", 60000, invoice="S-2"),
            usage("ST", 100_000, "0.0", 0, invoice="S-2"),
        )
        assert compare(legacy, stripe) == []

    def test_an_unused_meter_is_a_line_of_nothing_at_stripe_only(self):
        assert compare(ledger(fee(14900)), ledger(fee(14900), usage("ST", 0, "0.24", 0))) == []

    def test_neither_side_bills(self):
        assert compare(None, None) == []
        assert compare(None, ledger(usage("ST", 0, None, 0))) == []

    def test_only_the_free_tier_was_used(self):
        legacy = ledger(usage("ST", 40_000, "0", 0))
        assert compare(legacy, ledger(usage("ST", 40_000, "0", 0))) == []

    def test_equal_fees_of_a_family_share_a_line_at_stripe(self):
        assert (
            compare(ledger(fee(8900), fee(8900), fee(49900)), ledger(fee(17800, quantity=2), fee(49900)))
            == []
        )

    def test_yen_have_no_cents(self):
        legacy = ledger(fee(48000), usage("ST", 1_000, "38.4", 38400), currency="jpy")
        assert compare(legacy, legacy, currency="jpy") == []

    def test_a_rate_that_one_side_does_not_tell(self):
        legacy = ledger(usage("ST", 100_000, "0", 0), usage("ST", 250_000, "0.24", 60000))
        stripe = ledger(usage("ST", 100_000, None, 0), usage("ST", 250_000, None, 60000))
        assert compare(legacy, stripe) == []

    def test_a_job_whose_number_one_side_does_not_tell(self):
        assert compare(ledger(job(None, 125000), job(8, 100)), ledger(job(7, 125000), job(8, 100))) == []

    @given(
        st.lists(
            st.builds(
                LedgerLine,
                kind=st.sampled_from(["sub", "ST", "RM", "CV", "managed", "custom"]),
                amount_minor=st.integers(-10_000, 10_000),
                quantity=st.integers(0, 1_000),
                unit_amount_decimal=st.none() | st.decimals(0, 9, places=4),
                job_id=st.none() | st.integers(1, 3),
            ),
            max_size=8,
        )
    )
    def test_a_ledger_never_differs_from_itself_shuffled(self, lines):
        assert compare(ledger(*lines), ledger(*lines)) == []


class TestFlatFees:
    @pytest.mark.parametrize(
        ("plan", "verdict"),
        [
            ((49900,), "Stripe follows it"),
            ((45000,), "legacy follows it"),
            ((47000,), "neither side follows it"),
        ],
    )
    def test_the_plan_is_the_arbiter(self, plan, verdict):
        found = compare(ledger(fee(45000)), ledger(fee(49900)), terms(fees=plan))
        assert one(found) == ("sub", DriftCause.FLAT_FEE_DIFFERS, 4900, 4900)
        assert verdict in found[0].explanation

    def test_errors_that_cancel_are_found(self):
        found = compare(
            ledger(fee(49900), fee(8900)), ledger(fee(50000), fee(8800)), terms(fees=(49900, 8900))
        )
        assert one(found) == ("sub", DriftCause.FLAT_FEE_DIFFERS, 0, 200)

    def test_a_fee_that_is_missing_beside_usage(self):
        legacy = ledger(fee(14900), usage("CV", 10, "5", 50))
        assert one(compare(legacy, ledger(usage("CV", 10, "5", 50)))) == (
            "sub", DriftCause.FLAT_FEE_DIFFERS, -14900, 14900,
        )  # fmt: skip


class TestUsage:
    def test_a_restated_day(self):
        # 275,000 above the free tier instead of 250,000: 25,000 x 0.24 = 6,000
        legacy = ledger(usage("ST", 100_000, "0", 0), usage("ST", 275_000, "0.24", 66000))
        stripe = ledger(usage("ST", 100_000, "0", 0), usage("ST", 250_000, "0.24", 60000))
        found = compare(legacy, stripe, terms(tiers=TIERS))
        assert one(found) == ("ST", DriftCause.QUANTITY_DIFFERS, -6000, 6000)
        assert found[0].explanation == "legacy billed 375,000 ST impressions, Stripe 350,000 (-25,000)"

    def test_a_restated_day_within_the_free_tier_costs_nothing_and_is_found(self):
        found = compare(
            ledger(fee(100), usage("ST", 90_000, "0", 0)), ledger(fee(100), usage("ST", 80_000, "0", 0))
        )
        assert one(found) == ("ST", DriftCause.QUANTITY_DIFFERS, 0, 0)

    def test_an_edited_rate_names_who_left_the_plan(self):
        legacy = ledger(usage("ST", 100_000, "0", 0), usage("ST", 61_250, "0.192", 11760))
        stripe = ledger(usage("ST", 100_000, "0", 0), usage("ST", 61_250, "0.24", 14700))
        found = compare(legacy, stripe, terms(tiers=TIERS))
        assert one(found) == ("ST", DriftCause.RATE_DIFFERS, 2940, 2940)
        assert found[0].explanation == "legacy used 1.92 USD per 1,000, which is not in the imported plan"

    def test_rates_of_yen_and_six_places(self):
        legacy = ledger(usage("RM", 1_000, "0.1234567", 123), currency="jpy")
        stripe = ledger(usage("RM", 1_000, "0.25", 250), currency="jpy")
        found = compare(legacy, stripe, terms(tiers={"RM": ((None, "0.25"),)}), currency="jpy")
        assert "legacy used 123.4567 JPY per 1,000" in found[0].explanation

    def test_units_in_other_tiers_at_rates_of_the_plan(self):
        legacy = ledger(usage("ST", 200, "0.24", 48), usage("ST", 100, "0.19", 19))
        stripe = ledger(usage("ST", 100, "0.24", 24), usage("ST", 200, "0.19", 38))
        found = compare(legacy, stripe, terms(tiers=TIERS))
        assert one(found) == ("ST", DriftCause.RATE_DIFFERS, -5, 43)
        assert found[0].explanation == "the ST impressions fell into other tiers"

    def test_the_same_units_and_rate_rounded_otherwise(self):
        found = compare(ledger(usage("CV", 45_050, "0.19", 8559)), ledger(usage("CV", 45_050, "0.19", 8560)))
        assert one(found) == ("CV", DriftCause.ROUNDING, 1, 1)

    def test_tiers_whose_errors_cancel(self):
        legacy = ledger(usage("ST", 100, "0.24", 24), usage("ST", 100, "0.19", 19))
        stripe = ledger(usage("ST", 100, "0.24", 25), usage("ST", 100, "0.19", 18))
        assert one(compare(legacy, stripe)) == ("ST", DriftCause.ROUNDING, 0, 2)

    def test_types_whose_errors_cancel_are_two_differences(self):
        legacy = ledger(usage("ST", 100, "0.24", 24), usage("RM", 100, "0.5", 50))
        stripe = ledger(usage("ST", 110, "0.24", 26), usage("RM", 96, "0.5", 48))
        found = compare(legacy, stripe)
        assert [(item.kind, item.difference_minor) for item in found] == [("ST", 2), ("RM", -2)]

    def test_restated_and_at_an_edited_rate_tells_both(self):
        legacy, stripe = ledger(usage("ST", 10, "0.3", 3)), ledger(usage("ST", 20, "0.24", 5))
        (found,) = compare(legacy, stripe, terms(tiers=TIERS))
        assert found.cause == DriftCause.QUANTITY_DIFFERS
        assert "legacy used 3.00 USD per 1,000" in found.explanation


class TestManagedJobs:
    JOBS = (JobTerms(7, "Landing page", 125000, True), JobTerms(5, "Banner", 40000, False))

    @pytest.mark.parametrize(
        ("legacy", "stripe", "cause", "difference", "gross"),
        [
            ([job(7, 112500)], [job(7, 125000)], DriftCause.JOB_AMOUNT_DIFFERS, 12500, 12500),
            ([], [job(7, 125000)], DriftCause.JOB_MISSING_IN_LEGACY, 125000, 125000),
            ([job(7, 125000)], [], DriftCause.JOB_MISSING_IN_STRIPE, -125000, 125000),
            ([job(7, 125000), job(5, 40000)], [job(7, 125000)], DriftCause.JOB_BILLED_AGAIN, -40000, 40000),
            (
                [job(7, 125000), job(7, 125000)],
                [job(7, 125000)],
                DriftCause.JOB_BILLED_AGAIN,
                -125000,
                125000,
            ),
            ([job(7, 125000)], [job(7, 125000), job(7, 125000)], DriftCause.JOB_BILLED_AGAIN, 125000, 125000),
            ([job(8, 300)], [job(9, 300)], DriftCause.UNEXPLAINED, 0, 600),
            ([job(7, 120000), job(8, 5000)], [job(7, 125000)], DriftCause.JOB_AMOUNT_DIFFERS, 0, 10000),
        ],
    )
    def test_causes(self, legacy, stripe, cause, difference, gross):
        found = compare(ledger(fee(100), *legacy), ledger(fee(100), *stripe), terms(jobs=self.JOBS))
        assert one(found) == ("managed", cause, difference, gross)

    @pytest.mark.parametrize(
        ("stripe", "cause", "gross"),
        [
            ([job(9, 5000)], None, 0),
            ([job(9, 5001)], DriftCause.JOB_AMOUNT_DIFFERS, 1),
            ([], DriftCause.JOB_MISSING_IN_STRIPE, 5000),
            ([job(9, 5000), job(9, 5000)], DriftCause.JOB_BILLED_AGAIN, 5000),
            ([job(9, 5000), job(11, 300)], DriftCause.JOB_BILLED_AGAIN, 300),
        ],
    )
    def test_a_requested_job_is_held_against_its_own_record(self, stripe, cause, gross):
        jobs = (
            JobTerms(9, "Requested", 5000, True, is_requested=True),
            JobTerms(11, "Requested for another month", 300, False, is_requested=True),
        )
        legacy = add_requested_jobs(ledger(fee(100)), jobs)
        found = compare(legacy, ledger(fee(100), *stripe), terms(jobs=jobs))
        assert [(one.cause, one.gross_minor) for one in found] == ([(cause, gross)] if cause else [])
        if cause == DriftCause.JOB_AMOUNT_DIFFERS:
            assert "a request asks for job 9 at 50.00 USD" in found[0].explanation
        # A bill of nothing else is no bill that one side misses.
        alone = compare(add_requested_jobs(ledger(), jobs), ledger(*stripe), terms(jobs=jobs))
        assert bool(alone) == bool(cause)

    def test_what_is_told_about_them(self):
        found = compare(
            ledger(fee(1), job(7, 112500), job(6, 100)), ledger(fee(1), job(7, 125000)), terms(jobs=self.JOBS)
        )
        assert found[0].explanation == (
            "legacy billed job 6 at 1.00 USD (no such job record); "
            "legacy billed job 7 at 1,125.00 USD (its record says 1,250.00 USD); Stripe billed job 7 at 1,250.00 USD"
        )
        again = compare(ledger(fee(1), job(5, 40000)), ledger(fee(1)), terms(jobs=self.JOBS))
        assert "does not belong to this period" in again[0].explanation


class TestWholeInvoices:
    MONTH = (fee(14900), usage("ST", 61_250, "0.24", 14700))

    def test_missing_on_either_side(self):
        assert one(compare(ledger(*self.MONTH), None)) == (
            "invoice", DriftCause.MISSING_IN_STRIPE, -29600, 29600,
        )  # fmt: skip
        assert one(compare(None, ledger(*self.MONTH))) == (
            "invoice", DriftCause.MISSING_IN_LEGACY, 29600, 29600,
        )  # fmt: skip

    def test_missing_although_the_lines_cancel(self):
        legacy = ledger(fee(14900), custom(-14900))
        assert one(compare(legacy, None)) == ("invoice", DriftCause.MISSING_IN_STRIPE, 0, 29800)

    def test_billed_twice(self):
        legacy = ledger(
            *self.MONTH, fee(14900, invoice="A-2"), usage("ST", 61_250, "0.24", 14700, invoice="A-2")
        )
        found = compare(legacy, ledger(*self.MONTH))
        assert one(found) == ("invoice", DriftCause.DUPLICATE_IN_LEGACY, -29600, 29600)
        assert found[0].explanation == "legacy billed the same 2 times, on A-1, A-2: 296.00 USD too much"

    def test_a_job_on_an_invoice_of_its_own_is_no_duplicate(self):
        legacy = ledger(*self.MONTH, job(7, 500, invoice="A-2"))
        assert compare(legacy, ledger(*self.MONTH, job(7, 500))) == []
        assert one(compare(legacy, ledger(*self.MONTH))) == (
            "managed", DriftCause.JOB_MISSING_IN_STRIPE, -500, 500,
        )  # fmt: skip

    def test_a_custom_line(self):
        found = compare(ledger(*self.MONTH, custom(-7500)), ledger(*self.MONTH))
        assert one(found) == ("custom", DriftCause.CUSTOM_LINE, 7500, 7500)
        assert found[0].explanation == "legacy billed Loyalty credit at -75.00 USD: no plan table holds it"

    def test_a_line_of_a_kind_that_nobody_knows_is_not_passed_over(self):
        found = compare(ledger(*self.MONTH, custom(200, "Set-up", kind="setup")), ledger(*self.MONTH))
        assert one(found) == ("custom", DriftCause.CUSTOM_LINE, -200, 200)

    def test_tax(self):
        found = compare(ledger(*self.MONTH, tax=0), ledger(*self.MONTH, tax=2812))
        assert one(found) == ("tax", DriftCause.TAX_DIFFERS, 2812, 2812)

    def test_a_ledger_that_is_not_whole_is_no_evidence_even_if_it_agrees(self):
        found = compare(
            ledger(*self.MONTH), ledger(*self.MONTH, problems=("Stripe's invoice in_1 is still a draft",))
        )
        assert one(found) == ("invoice", DriftCause.LEDGER_INCOMPLETE, 0, 0)
        assert found[0].explanation == "Stripe's invoice in_1 is still a draft"


def test_entries_narrow_to_an_invoice_with_its_tax():
    entry = LedgerEntry(1, "usd", (fee(100), fee(200, invoice="A-2")), {"A-1": 19, "A-2": 38})
    assert (entry.total_minor, entry.tax_minor, entry.invoices) == (357, 57, ("A-1", "A-2"))
    assert entry.narrow("A-2").total_minor == 238
    assert fee(100).unit_amount_decimal == Decimal(100)


def test_lines_of_several_unknown_kinds_are_one_difference():
    legacy = ledger(fee(1), custom(200, "Set-up", kind="setup"), custom(300, "Credit", kind="misc"))
    assert one(compare(legacy, ledger(fee(1)))) == ("custom", DriftCause.CUSTOM_LINE, -500, 500)
