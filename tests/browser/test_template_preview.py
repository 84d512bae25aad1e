"""A person looks at what another version of the template makes of real documents."""

from __future__ import annotations

import pytest

from invoices.previewing.models import TemplateComparison
from invoices.previewing.services import make_comparison
from tests.browser.conftest import Login
from tests.cohorts.factories import make_person
from tests.invoices.factories import NOW
from tests.invoices.test_previewing import make_printed

pytestmark = [pytest.mark.django_db(transaction=True, databases=["default", "legacy"]), pytest.mark.slow]


def test_from_the_button_to_both_sides(console: str, login: Login):
    for variant in ("open", "jpy-japanese"):
        make_printed(variant)
    make_person("otto", "ops")
    page = login("otto")
    page.goto("/admin/invoices/templatecomparison/")
    page.click("text=Print ten documents with both")
    page.wait_for_selector("text=2 of 2 are still being printed")
    for row in TemplateComparison.objects.all():
        make_comparison(comparison_id=row.pk, now=NOW)
    # The page looks again by itself.
    # It may look between the two, so what is waited for is both.
    page.wait_for_function(
        "document.querySelectorAll('.inv-sides img').length === 4"
        " && [...document.querySelectorAll('.inv-sides img')]"
        ".every(image => { image.loading = 'eager'; return image.naturalWidth })",
        timeout=60_000,
    )
    assert page.locator("text=Says what Stripe says").count() == 4
