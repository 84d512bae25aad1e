"""Every test of this folder writes its files into a folder of its own."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def own_files(tmp_path: Path, settings) -> Path:
    """Storage and mail below `tmp_path`; the mail backend is the embedded default's."""
    settings.STORAGES = {
        **settings.STORAGES,
        "invoices": {
            "BACKEND": "django.core.files.storage.FileSystemStorage",
            "OPTIONS": {"location": str(tmp_path / "invoices")},
        },
    }
    settings.EMAIL_BACKEND = "invoices.mail_backends.EmlFileBackend"
    settings.EMAIL_FILE_PATH = str(tmp_path / "mail")
    settings.ENV = settings.ENV.model_copy(update={"BILLING_BCC_ADDRESS": "crm@example.com"})
    return tmp_path


@pytest.fixture
def read_mails(own_files: Path):
    """The messages written so far, parsed."""
    from email import policy
    from email.parser import BytesParser

    def read() -> list:
        return [
            BytesParser(policy=policy.default).parsebytes(path.read_bytes())
            for path in sorted((own_files / "mail").glob("*.eml"))
        ]

    return read
