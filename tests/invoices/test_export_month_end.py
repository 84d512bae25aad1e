from __future__ import annotations

import csv
from datetime import UTC, datetime

import pytest
from django.core.management import CommandError, call_command
from openpyxl import load_workbook

from billing_worker.core.periods import Period
from billing_worker.mirror.models import StripeCreditNote
from cohorts.models import Cohort, CohortMember
from invoices.exports.cells import neutralize_text
from invoices.exports.month_end import add_up, get_service_month, iter_rows
from invoices.models import InvoicePayment
from tests.factories import CustomerAccountFactory
from tests.invoices.factories import (
    DECEMBER,
    NOVEMBER,
    OCTOBER,
    StripeInvoiceFactory,
    StripeInvoiceLineFactory,
    make_credit_note,
    make_invoice,
)

pytestmark = pytest.mark.django_db
MONTH = Period(2026, 10)
PAID_AT = datetime(2026, 11, 13, 8, tzinfo=UTC)


@pytest.fixture
def dollars():
    """524.00, paid on the twelfth day, 100.00 of it credited."""
    account = CustomerAccountFactory.create(id=5001, name="Halvorsen & Pike")
    invoice = make_invoice(
        account=account, number="ACC-1", status="paid", amount_paid_minor=52400, paid_at=PAID_AT
    )
    make_credit_note(invoice)
    return invoice


@pytest.fixture
def yen():
    """¥1,235 and a discount of ¥35, open."""
    account = CustomerAccountFactory.create(id=5002, name='=HYPERLINK("http://example.com")', currency="jpy")
    invoice = StripeInvoiceFactory.create(
        account=account,
        number="ACC-2",
        currency="jpy",
        subtotal_minor=1235,
        total_minor=1200,
        total_discount_minor=35,
        collection_method="send_invoice",
        due_at=DECEMBER,
    )
    StripeInvoiceLineFactory.create(
        invoice=invoice,
        currency="jpy",
        kind="managed",
        amount_minor=1235,
        period_start=OCTOBER,
        period_end=NOVEMBER,
    )
    return invoice


def export(folder):
    call_command("month_end_export", period="2026-10", output=folder)
    with (folder / "month-end-2026-10.csv").open(encoding="utf-8-sig", newline="") as file:
        return load_workbook(folder / "month-end-2026-10.xlsx"), list(csv.DictReader(file))


def test_an_invoice_is_a_row_of_the_csv(dollars, yen, tmp_path):
    cohort = Cohort.objects.create(name="cohort-1", created_at=OCTOBER)
    CohortMember.objects.create(cohort=cohort, account_id=5001)
    _, rows = export(tmp_path / "new" / "folder")
    unpaid, paid = rows

    assert paid == {
        "number": "ACC-1",
        "account_id": "5001",
        "account_name": "Halvorsen & Pike",
        "cohort": "cohort-1",
        "status": "paid",
        "method": "charged automatically",
        "stripe_invoice_id": dollars.stripe_invoice_id,
        "issued_date": "2026-11-01",
        "due_date": "",
        "paid_date": "2026-11-13",
        "currency": "USD",
        "lines_sub": "499.00",
        "lines_st": "25.00",
        "lines_rm": "0.00",
        "lines_cv": "0.00",
        "lines_sampled": "0.00",
        "lines_managed": "0.00",
        "lines_custom": "0.00",
        "for_period": "25.00",
        "other_periods": "499.00",
        "discount": "0.00",
        "net": "524.00",
        "tax": "0.00",
        "tax_in_prices": "0.00",
        "total": "524.00",
        "paid": "524.00",
        "open": "0.00",
        "credited": "100.00",
        "unexplained": "0.00",
        "days_to_pay": "12",
    }
    assert (unpaid["lines_managed"], unpaid["discount"], unpaid["total"]) == ("1235", "35", "1200")
    assert (unpaid["open"], unpaid["days_to_pay"], unpaid["cohort"]) == ("1200", "", "")
    assert (unpaid["method"], unpaid["due_date"]) == ("sent for payment", "2026-12-01")
    assert unpaid["account_name"] == """'=HYPERLINK("http://example.com")"""


def test_a_currency_is_a_sheet_with_numbers_and_their_total(dollars, yen, tmp_path):
    make_invoice(number="ACC-3", status="void", account=CustomerAccountFactory.create(id=5003))
    make_invoice(number="ACC-4", account=CustomerAccountFactory.create(id=5004))
    book, _ = export(tmp_path)

    assert book.sheetnames == ["Summary", "JPY", "USD"]
    sheet = book["USD"]
    names = [cell.value for cell in sheet[1]]
    assert names[:9] == [
        *("number", "account", "name", "cohort", "status", "method", "issued", "due", "paid on"),
    ]
    column = names.index("total")
    amounts = [row[column] for row in sheet.iter_rows(min_row=2)]
    assert [cell.value for cell in amounts] == [524, 524, 524, 1048]
    assert {cell.number_format for cell in amounts} == {"#,##0.00"}
    assert {cell.data_type for cell in amounts} == {"n"}
    assert sheet.cell(5, 1).value == "Total of 2 invoices (and 1 void, not counted)"
    assert sheet.cell(5, names.index("for 2026-10") + 1).value == 50
    assert sheet.cell(2, names.index("days to pay") + 1).value == 12
    assert sheet.cell(2, 7).value == datetime(2026, 11, 1)  # noqa: DTZ001 (spreadsheets know no zones)
    assert sheet.cell(2, 7).is_date

    total = book["JPY"].cell(2, column + 1)
    assert (total.value, total.number_format) == (1200, "#,##0")


def test_a_customers_name_is_never_a_formula(yen, tmp_path):
    cell = export(tmp_path)[0]["JPY"].cell(2, 3)
    assert cell.value == '=HYPERLINK("http://example.com")'
    assert (cell.data_type, cell.quotePrefix) == ("s", True)


@pytest.mark.parametrize(
    "text",
    ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n1", "  =1", "\uff1d1+1", "\u00a0=1", "|calc", "%0A"],
)
def test_formulas_are_texts_in_csv(text):
    assert neutralize_text(text) == f"'{text}"


@pytest.mark.parametrize("text", ["", "Halvorsen & Pike", "株式会社あおぞら商店", "A=B", "3-D Ltd"])
def test_other_texts_stay_as_they_are(text):
    assert neutralize_text(text) == text


def test_control_characters_are_replaced():
    assert neutralize_text("a\x00b\x0bc") == "a\ufffdb\ufffdc"


def test_only_finalized_invoices_of_ours_of_the_month(dollars):
    make_invoice(status="draft")
    make_invoice(account=None)
    make_invoice(period_start=NOVEMBER)
    foreign = StripeInvoiceFactory.create()
    StripeInvoiceLineFactory.create(invoice=foreign, kind="custom")

    assert [row.number for row in iter_rows(MONTH, cohorts={})] == ["ACC-1"]


def test_the_service_month_counts_lines_by_their_own_period(dollars, yen):
    october_fee = StripeInvoiceFactory.create(period_start=OCTOBER, period_end=OCTOBER, subtotal_minor=49900)
    StripeInvoiceLineFactory.create(invoice=october_fee, period_start=OCTOBER, period_end=NOVEMBER)
    make_invoice(status="void")

    assert get_service_month(MONTH) == {
        "jpy": {"sub": 0, "ST": 0, "RM": 0, "CV": 0, "sampled": 0, "managed": 1235, "custom": 0},
        "usd": {"sub": 49900, "ST": 2500, "RM": 0, "CV": 0, "sampled": 0, "managed": 0, "custom": 0},
    }
    assert get_service_month(Period(2026, 11))["usd"]["sub"] == 39900, "less what was credited of November"
    StripeCreditNote.objects.update(status="void")
    assert get_service_month(Period(2026, 11))["usd"]["sub"] == 49900


def test_the_summary_has_both_views(dollars, tmp_path):
    rows = [[cell.value for cell in row] for row in export(tmp_path)[0]["Summary"].iter_rows()]
    assert rows[0][:4] == ["Invoices of 2026-10", "invoices", "void", "Flat fee"]
    assert rows[1][:5] == ["USD", 1, 0, 499, 25]
    assert rows[3][0] == "Billed for 2026-10, whatever the invoice"
    assert rows[4][:5] == ["USD", None, None, 0, 25]
    assert rows[4][10] == 25


def test_an_invoice_that_does_not_add_up_is_told(dollars, tmp_path):
    dollars.lines.filter(kind="sub").update(amount_minor=49901)
    with pytest.raises(CommandError, match=r"1 invoice.*ACC-1") as refusal:
        export(tmp_path)
    assert refusal.value.returncode == 1
    assert (tmp_path / "month-end-2026-10.xlsx").exists()
    [row] = iter_rows(MONTH, cohorts={})
    assert row.unexplained_minor == -1


def test_a_month_without_invoices_is_an_empty_export(tmp_path):
    book, rows = export(tmp_path)
    assert (book.sheetnames, rows) == (["Summary"], [])
    assert add_up([]) == {}


def test_an_export_is_replaced_whole_and_leaves_nothing_else(dollars, tmp_path):
    export(tmp_path)
    export(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == [
        "month-end-2026-10.csv",
        "month-end-2026-10.xlsx",
    ]


def test_a_payment_from_the_balance(dollars):
    dollars.amount_due_minor = 0
    dollars.save()
    [row] = iter_rows(MONTH, cohorts={})
    assert (row.method, row.total_minor) == ("nothing due", 52400)


def test_a_folder_that_can_not_be_made(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(CommandError, match="--output"):
        call_command("month_end_export", period="2026-10", output=tmp_path / "file" / "folder")


def test_the_method_is_that_of_the_payments_where_they_are_known(dollars):
    for last4 in ("4242", "4242", "3000"):
        InvoicePayment.objects.create(
            invoice=dollars,
            stripe_payment_id=f"inpay_{InvoicePayment.objects.count()}",
            amount_minor=100,
            currency="usd",
            paid_at=PAID_AT,
            method="card",
            brand="visa",
            last4=last4,
        )
    assert next(iter_rows(MONTH, cohorts={})).method == "Visa ending 4242, Visa ending 3000"


def test_net_and_tax_are_the_total_wherever_the_tax_stood(tmp_path):
    """119.00 with 19.00 inside, and 50.00 with 3.50 on top: 150.00 net, 22.50 of tax, 172.50."""
    account = CustomerAccountFactory.create(id=5003)
    invoice = StripeInvoiceFactory.create(
        account=account,
        subtotal_minor=16900,
        total_tax_minor=2250,
        inclusive_tax_minor=1900,
        total_minor=17250,
        period_start=OCTOBER,
    )
    StripeInvoiceLineFactory.create(
        invoice=invoice, position=0, amount_minor=11900, tax_minor=1900, inclusive_tax_minor=1900
    )
    StripeInvoiceLineFactory.create(
        invoice=invoice, position=1, kind="managed", amount_minor=5000, tax_minor=350
    )
    _, (row,) = export(tmp_path)
    assert {name: row[name] for name in ("net", "tax", "tax_in_prices", "total", "unexplained")} == {
        "net": "150.00",
        "tax": "22.50",
        "tax_in_prices": "19.00",
        "total": "172.50",
        "unexplained": "0.00",
    }
    assert get_service_month(Period(2026, 11))["usd"]["sub"] == 10000
