"""The embedded default's mail backend, which also notes every message that it has written, in `FILES_DIR`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from django.core.mail import EmailMessage

from invoices.mail_backends import EmlFileBackend

FILES: Final = Path(os.environ.get("FILES_DIR", "/nonexistent"))
NAME: Final = f"{__name__}.NotingBackend"


class NotingBackend(EmlFileBackend):
    """A message that is sent twice is one file and two notes."""

    def send_messages(self, email_messages: Sequence[EmailMessage]) -> int:
        count = super().send_messages(email_messages)
        with (FILES / "sent.log").open("a") as log:
            log.writelines(f"{message.extra_headers['Message-ID']}\n" for message in email_messages)
        return count


def configure() -> None:
    """Django with the tests' settings, its PDFs and mails in `FILES_DIR` and its mails noted."""
    import django
    from django.conf import settings

    settings.STORAGES["invoices"] = {
        "BACKEND": "django.core.files.storage.FileSystemStorage",
        "OPTIONS": {"location": str(FILES / "invoices")},
    }
    settings.EMAIL_FILE_PATH = str(FILES / "mail")
    settings.EMAIL_BACKEND = NAME
    django.setup()
