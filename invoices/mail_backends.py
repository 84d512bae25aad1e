"""Mail as `.eml` files, for machines without a mail service."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from django.conf import settings
from django.core.mail import EmailMessage
from django.core.mail.backends.base import BaseEmailBackend

_UNSAFE: Final = re.compile(r"[^A-Za-z0-9._@-]+")


class EmlFileBackend(BaseEmailBackend):
    """One real `.eml` file a message, named after its Message-ID; it opens in any mail program.

    A file appears whole or not at all, and a message that is written twice is one file: so this backend can say of a
    message whether it was sent, which a mail service cannot.
    """

    def __init__(self, *args: Any, file_path: str | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.folder = Path(file_path or settings.EMAIL_FILE_PATH)

    def send_messages(self, email_messages: Sequence[EmailMessage]) -> int:
        self.folder.mkdir(parents=True, exist_ok=True)
        for message in email_messages:
            self._write(message)
        return len(email_messages)

    def was_sent(self, message_id: str) -> bool:
        """Whether the message with this id (without brackets) has been written."""
        return self._find_path(message_id).exists()

    def _write(self, message: EmailMessage) -> None:
        mime = message.message()
        if message.bcc:
            # Written down here because nobody else delivers it: a mail service takes the envelope's recipients.
            mime["Bcc"] = ", ".join(message.bcc)
        path = self._find_path(str(mime["Message-ID"]).strip("<>"))
        descriptor, temporary = tempfile.mkstemp(dir=self.folder, prefix=".", suffix=".tmp")
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(b"\r\n".join(mime.as_bytes().splitlines()) + b"\r\n")
            os.replace(temporary, path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise

    def _find_path(self, message_id: str) -> Path:
        return self.folder / f"{_UNSAFE.sub('-', message_id)[:150]}.eml"
