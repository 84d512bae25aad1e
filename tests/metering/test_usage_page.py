"""The page of an account's month, as the console serves it."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse

from billing_worker.accounts.models import Account
from billing_worker.core.periods import Period
from metering.console.charts import build_chart
from metering.draft_window.completions import declare_complete
from metering.estimate import TierReached
from metering.models import DraftHold
from metering.services.ingest import store_usage
from tests.factories import (
    AccountFactory,
    AccountPlanFactory,
    BillingLeaseFactory,
    CustomerAccountFactory,
    make_tiers,
)
from tests.metering.factories import NOW, MeterEventFactory, make_input
from tests.reconciliation.factories import OCTOBER_FIRST, add_stripe_invoice, make_stripe_line

pytestmark = pytest.mark.django_db
SEARCH = "/admin/metering/usagefeed/month/"


def use(account: Account, period: str, usage_type: str, quantity: int, reason: str = "") -> None:
    item = make_input(account.pk, period, usage_type, quantity, reason)
    (outcome,) = store_usage(records=[item], author="warehouse", now=NOW)
    assert outcome.status in {"created", "restated"}, outcome


@pytest.fixture
def client() -> Client:
    """A person who may look at usage and accounts and nothing else."""
    user = User.objects.create_user("viewer", is_staff=True)
    user.user_permissions.set(
        Permission.objects.filter(codename__in=["view_usagefeed", "view_account", "view_usagerecord"])
    )
    client = Client()
    client.force_login(user)
    return client


def make_account(**values: Any) -> Account:
    account = CustomerAccountFactory.create(**{"name": "Quarry Lane Bakery", **values})
    AccountPlanFactory.create(account=account)
    make_tiers(account, "ST", (100_000, "0"), (None, "0.2"))
    BillingLeaseFactory.create(account=account)
    return account


def read(client: Client, account: Account, period: str = "2026-10") -> Any:
    return client.get(f"{SEARCH}{account.pk}/", {"period": period} if period else {})


def test_the_month_is_told_in_figures_and_in_a_chart(client):
    account = make_account()
    use(account, "2026-10-03", "ST", 90_000)
    use(account, "2026-10-05", "ST", 20_000)
    use(account, "2026-10-05", "ST", 30_000, "late <b>log</b> files")
    MeterEventFactory.create(account=account, bucket="2026-10-03", value=90_000)
    MeterEventFactory.create(
        account=account, bucket="2026-10-05", state="rejected", reason="no such customer"
    )

    answer = read(client, account)

    text = answer.content.decode()
    page = answer.context["page"]
    assert answer.status_code == 200
    assert [(row.bucket, row.quantities) for row in page.buckets] == [
        ("2026-10-03", ("90,000", "", "")),
        ("2026-10-05", ("30,000", "", "")),
    ]
    (change,) = page.buckets[1].restatements
    assert (change.usage_type, change.change, change.quantity) == ("ST", "+10,000", "30,000")
    assert "late &lt;b&gt;log&lt;/b&gt; files" in text
    assert "<title>2026-10-05: 30,000, restated</title>" in text
    assert "<title>2026-10-05: past 100,000, into tier 2</title>" in text
    assert 'aria-label="ST: 120,000 in 2 buckets; 1 restated; tier 2 reached on 2026-10-05"' in text
    assert [(state.label, state.count, state.tone) for state in page.states] == [
        ("Rejected", 1, "drift"),
        ("Pending", 1, "warning"),
    ]
    assert "no such customer" in text
    assert page.total == "539.00 USD"
    assert "nothing yet" in text


@pytest.mark.parametrize(
    ("billed_minor", "comparison", "words"),
    [(53_900, "even", "equal to the cent"), (53_901, "apart", "apart by 0.01 USD")],
)
def test_the_bill_is_compared_to_the_cent(client, billed_minor, comparison, words):
    account = make_account()
    use(account, "2026-10", "ST", 120_000)
    add_stripe_invoice(
        account, make_stripe_line("sub", 49_900), make_stripe_line("ST", billed_minor - 49_900)
    )
    answer = read(client, account)
    assert answer.context["page"].comparison == comparison
    assert words in answer.content.decode()


def test_before_the_invoice_after_the_month_less_is_no_difference(client):
    account = make_account()
    use(account, "2026-10", "ST", 120_000)
    add_stripe_invoice(account, make_stripe_line("sub", 49_900), created_at=OCTOBER_FIRST)
    answer = read(client, account)
    assert answer.context["page"].comparison == ""
    assert "so far; usage is billed after the month" in answer.content.decode()


def test_a_monthly_feed_is_one_bar_without_a_day(client):
    account = make_account()
    use(account, "2026-10", "ST", 120_000)
    (chart,) = read(client, account).context["page"].charts
    assert [(bar.x, bar.width, bar.label) for bar in chart.bars] == [
        ("14.000%", "72.000%", "2026-10: 120,000")
    ]
    assert chart.marks == ()
    assert chart.days == (("50%", "2026-10"),)


def test_a_childs_page_shows_its_own_usage_and_its_payers_bill(client):
    payer = make_account()
    child = AccountFactory.create(name="Tern & Co", parent=payer)
    use(payer, "2026-10-03", "ST", 90_000)
    use(child, "2026-10-07", "ST", 20_000)
    page = read(client, child).context["page"]
    assert (page.payer, page.total, page.totals[0]) == (payer, "519.00 USD", "20,000")
    assert [(row.account_id, row.quantities[0], row.is_this) for row in page.members] == [
        (payer.pk, "90,000", False),
        (child.pk, "20,000", True),
    ]


def test_a_month_of_nothing_is_a_page_too(client):
    answer = read(client, CustomerAccountFactory.create())
    assert "No usage is held for this month." in answer.content.decode()
    assert "The old service bills this month" in answer.content.decode()
    assert answer.context["page"].total == "0.00 USD"


def test_without_a_month_it_is_the_newest_that_holds_usage(client):
    account = make_account()
    use(account, "2026-09", "ST", 1)
    use(account, "2026-10", "ST", 1)
    assert read(client, account, "").context["period"] == "2026-10"


@pytest.mark.parametrize("period", ["2026-13", "2026", "٢٠٢٦-10", "9999-01", "x' or 1=1"])
def test_a_month_that_is_none_is_refused_with_words(client, period):
    answer = read(client, make_account(), period)
    assert answer.status_code == 422
    assert "bw-notice" in answer.content.decode()


@pytest.mark.parametrize("number", [4, 2**63, 10**40])
def test_an_account_that_is_none_is_not_found(client, number):
    assert client.get(f"{SEARCH}{number}/").status_code == 404


def test_search_goes_to_the_one_that_fits_and_offers_several(client):
    first = make_account(id=7001, name="Grünwald Bäckerei")
    make_account(id=7002, name="Grünwald Mühle")

    by_id = client.get(SEARCH, {"account": " 7001 ", "period": "2026-10"})
    assert by_id.status_code == 302
    assert by_id["Location"].startswith(f"{SEARCH}7001/?")
    assert "period=2026-10" in by_id["Location"]
    assert client.get(SEARCH, {"account": "bäckerei"})["Location"] == f"{SEARCH}{first.pk}/"
    assert [found.pk for found in client.get(SEARCH, {"account": "grün"}).context["found"]] == [7001, 7002]
    make_account(id=7003, name="Österreichische 100% Medien")
    for text in ("Ö", "MEDIEN", "100%"):
        assert client.get(SEARCH, {"account": text})["Location"] == f"{SEARCH}7003/"
    nothing = client.get(SEARCH, {"account": "<script>"})
    assert "No account has" in nothing.content.decode()
    assert "<script>&#x27;" not in nothing.content.decode()
    assert client.get(SEARCH, {"account": "9" * 30}).status_code == 200
    assert client.get(SEARCH).status_code == 200


def test_it_is_reached_from_the_account_and_from_the_usage_list(client):
    account = make_account()
    use(account, "2026-10", "ST", 1)
    address = f"{SEARCH}{account.pk}/"
    listed = client.get(reverse("admin:metering_usagefeed_changelist")).content.decode()
    assert f'href="{address}?period=2026-10"' in listed
    assert client.get(reverse("admin:metering_usagefeed_find_month"))["Location"] == SEARCH
    shown = client.get(reverse("admin:accounts_account_change", args=[account.pk])).content.decode()
    link = reverse("admin:accounts_account_show_usage", args=[account.pk])
    assert link in shown
    assert client.get(link)["Location"] == address


def test_only_people_who_may_see_usage_and_accounts_see_it():
    account = make_account()
    assert Client().get(f"{SEARCH}{account.pk}/").status_code == 302
    for codename in ("view_usagefeed", "view_account"):
        user = User.objects.create_user(codename, is_staff=True)
        user.user_permissions.set(Permission.objects.filter(codename=codename))
        client = Client()
        client.force_login(user)
        assert client.get(f"{SEARCH}{account.pk}/").status_code == 403
        assert client.get(SEARCH).status_code == 403


def test_the_page_asks_no_more_queries_for_a_longer_month(client, django_assert_max_num_queries):
    account = make_account()
    for day in range(1, 31):
        use(account, f"2026-10-{day:02d}", "ST", 10_000)
        MeterEventFactory.create(account=account, bucket=f"2026-10-{day:02d}")
    with django_assert_max_num_queries(30):
        assert read(client, account).status_code == 200


def test_bars_stand_on_the_ground_and_marks_stand_before_their_day():
    chart = build_chart(
        usage_type="ST",
        title="ST",
        period=Period(2026, 10),
        quantities={date(2026, 10, 1): 0, date(2026, 10, 2): 55, date(2026, 10, 31): 110},
        revised={date(2026, 10, 31)},
        tiers_reached=[
            TierReached(usage_type="ST", tier_index=1, after_units=50, reached_on=date(2026, 10, 2)),
            TierReached(usage_type="ST", tier_index=2, after_units=60, reached_on=date(2026, 10, 31)),
            TierReached(usage_type="RM", tier_index=1, after_units=1, reached_on=date(2026, 10, 2)),
        ],
        is_daily=True,
    )
    assert [scale.label for scale in chart.scales] == ["200", "100", "0"]
    assert [(bar.y, bar.height, bar.is_revised) for bar in chart.bars] == [
        (132, 0, False), (106, 26, False), (79, 53, True)
    ]  # fmt: skip
    assert [(mark.x, mark.label, mark.text_y, mark.is_late) for mark in chart.marks] == [
        ("3.226%", "tier 2", 11, False), ("96.774%", "tier 3", 24, True)
    ]  # fmt: skip


def test_the_page_says_whether_the_month_is_complete_and_what_holds_its_draft(client):
    account = make_account()
    page = read(client, account).content.decode()
    assert "Nobody has declared this month complete." in page
    assert "Stripe has made no draft for it yet." in page

    hold = DraftHold.objects.create(
        stripe_invoice_id="in_1", account=account, period="2026-10", drafted_at=NOW, state="held", held_at=NOW,
        reasons=[f"account {account.pk}: 3 meter events are not sent"], looked_at=NOW, created_at=NOW,
    )  # fmt: skip
    page = read(client, account).content.decode()
    assert "in_1: held." in page
    assert "3 meter events are not sent" in page
    assert f"/drafthold/{hold.pk}/" not in page, "this person may not look at holds"

    declare_complete(period=Period(2026, 10), account_ids=None, actor="key:warehouse", now=NOW)
    DraftHold.objects.update(state="released", released_at=NOW, release_cause="complete")
    page = read(client, account).content.decode()
    assert "Declared complete by key:warehouse on 2026-11-03 12:00 UTC, for every account." in page
    assert "in_1: released, 2026-11-03 12:00 UTC (usage complete and sent)." in page
    assert "3 meter events are not sent" not in page
