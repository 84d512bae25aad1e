"""Categories and rates of taxes, from what Stripe tells."""

from __future__ import annotations

from decimal import Decimal

import pytest

from invoices.content import LineTax
from invoices.taxes import group_taxes, infer_rate
from tests.invoices.samples import build_content, build_line, build_tiers, charge_lines


@pytest.mark.parametrize(
    ("pairs", "expected"),
    [
        ([(10000, 1900)], "19"),
        ([(12345, 2346), (999, 190)], "19"),
        ([(100000, 8875)], "8.875"),
        ([(10000, 1900), (10000, 700)], None),
        ([(0, 0)], None),
        ([], None),
    ],
)
def test_a_rate_is_told_from_amounts_only_if_it_explains_each(pairs, expected):
    assert infer_rate(pairs) == (None if expected is None else Decimal(expected))


def test_a_free_tier_bears_the_rate_of_the_others():
    lines = charge_lines(build_tiers("ST", (1000, "0"), (100_000, "0.1")), percent=Decimal(19))
    untold = [line.model_copy(update={"taxes": ()}) for line in lines]
    (group,) = group_taxes(build_content(untold))
    assert (group.category, group.rate, group.basis_minor, group.tax_minor) == (
        "S",
        Decimal(19),
        10000,
        1900,
    )


def test_two_rates_are_two_groups_after_their_discounts():
    fee, work = build_line("sub", 10000), build_line("managed", 20000)
    lines = charge_lines([fee], percent=Decimal(19), discounts=[1000]) + charge_lines(
        [work], percent=Decimal(7)
    )
    groups = group_taxes(build_content(lines))
    assert [(group.rate, group.basis_minor, group.discount_minor, group.tax_minor) for group in groups] == [
        (Decimal(19), 9000, 1000, 1710),
        (Decimal(7), 20000, 0, 1400),
    ]


@pytest.mark.parametrize(
    ("reason", "exempt", "category"),
    [
        ("reverse_charge", "none", "AE"),
        ("zero_rated", "none", "Z"),
        ("product_exempt", "none", "E"),
        ("not_collecting", "reverse", "O"),
        ("", "reverse", "AE"),
        ("", "exempt", "E"),
        ("", "none", "O"),
    ],
)
def test_without_tax_the_reason_decides_then_the_customer(reason, exempt, category):
    told = LineTax(amount_minor=0, taxable_minor=10000, percentage=None, reason=reason)
    line = build_line("sub", 10000).model_copy(update={"taxes": (told,) if reason else ()})
    (group,) = group_taxes(build_content([line], tax_exempt=exempt))
    assert group.category == category


def test_an_invoice_is_never_partly_outside_of_vat():
    taxed = charge_lines([build_line("sub", 10000)], percent=Decimal(19))
    groups = group_taxes(build_content([*taxed, build_line("managed", 20000)]))
    assert [group.category for group in groups] == ["S", "E"]
