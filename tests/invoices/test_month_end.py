"""What one invoice costs at a month's end, counted in statements: a slow machine does not change that."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from pydantic import SecretStr

from invoices.models import InvoiceMail
from tests.invoices.month_end import STAGES, TRACKING_KEY, prepare, send_through

#: Statements by stage, transactions' own included. Whoever needs more explains why; whoever needs fewer writes it down.
#: A look at the inbox is two questions, each answered from an index; there are two looks: at the event, and at nothing.
ALLOWED = {"acknowledged": 4, "processed": 35, "rendered": 10, "mailed": 3, "tracked": 7}


@pytest.fixture(autouse=True)
def mailgun(settings, own_files) -> None:
    """Its tracking webhooks; the mail itself is written into a file, which costs no statement either way."""
    env = settings.ENV
    settings.ENV = env.model_copy(
        update={
            "MAILGUN_API_KEY": SecretStr("key"),
            "MAILGUN_WEBHOOK_SIGNING_KEY": SecretStr(TRACKING_KEY),
            "MAIL_ALLOWLIST": ["example.com"],
        }
    )
    settings.ANYMAIL = {"MAILGUN_API_KEY": "key", "MAILGUN_WEBHOOK_SIGNING_KEY": TRACKING_KEY}


@pytest.mark.django_db(transaction=True)
def test_an_invoice_takes_no_more_statements_than_it_took() -> None:
    captured: dict[str, CaptureQueriesContext] = {}

    def capture(stage: str) -> AbstractContextManager[object]:
        captured[stage] = CaptureQueriesContext(connection)
        return captured[stage]

    before, event = prepare(range(2))
    send_through(before, Client(), lambda stage: nullcontext())
    send_through(event, Client(), capture)

    taken = {stage: len(captured[stage]) for stage in STAGES}
    too_many = [stage for stage in STAGES if taken[stage] > ALLOWED[stage]]
    told = "\n".join(query["sql"][:150] for stage in too_many for query in captured[stage].captured_queries)
    assert not too_many, f"{taken}\n{told}"
    assert InvoiceMail.objects.filter(state="delivered").count() == 2
