"""What a worker has loaded once it has printed a document: each of these packages is megabytes of every worker."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

from tests.support.processes import PYTHON, ROOT

#: The console, the addresses, REST's views and their schema, spreadsheets, R2's and PostgreSQL's clients.
NOT_LOADED = {
    *("billing_worker.urls", "invoices.admin", "metering.admin", "unfold.admin", "import_export.admin"),
    *("rest_framework.serializers", "drf_spectacular.generators", "django.test"),
    *("openpyxl", "tablib", "boto3", "botocore", "cryptography", "psycopg", "facturx", "pytest"),
}
WORK = """
import json, sys
from billing_worker.celery import app
app.loader.import_default_modules()
app.finalize()
from invoices.messages import build_message
from invoices.models import InvoiceDocument, InvoiceMail
from invoices.rendering.pdf import render_pdf
from invoices.truth import find_untruths
from tests.invoices.samples import build_content
content = build_content()
body = render_pdf(content).body
assert find_untruths(content, body) == []
mail = InvoiceMail(document=InvoiceDocument(), subject="Invoice", to=["ap@example.com"], message_id="1@example.com")
assert build_message(mail, content, body).message().as_bytes()
print(json.dumps([len(app.tasks), sorted(sys.modules)]))
"""


def test_a_worker_loads_nothing_that_it_does_not_need_and_leaves_nothing(tmp_path: Path) -> None:
    done = subprocess.run(
        [PYTHON, "-c", WORK],
        cwd=ROOT,
        env={
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "tests.settings",
            "PYTHONWARNINGS": "ignore",
            "TMPDIR": str(tmp_path),
        },
        capture_output=True,
        text=True,
        check=True,
    )
    tasks, loaded = json.loads(done.stdout.splitlines()[-1])
    assert tasks > 20
    assert {"weasyprint", "stripe", "djstripe.models"} <= set(loaded)
    assert NOT_LOADED & set(loaded) == set()
    assert list(tmp_path.iterdir()) == []
