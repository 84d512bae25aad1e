"""Mail as `.eml` files, for machines without a mail service."""

from __future__ import annotations

from django.core.mail.backends.filebased import EmailBackend


class EmlFileBackend(EmailBackend):
    """One `.eml` file a message."""
