"""What the settings say about samples."""

from __future__ import annotations

from django.conf import settings

from billing_worker.core.errors import Unavailable


class SamplesNotConfigured(Unavailable):
    """No secret is shared with the senders of samples. Set SAMPLES_SECRET here and there."""

    code = "samples_not_configured"


def get_secrets() -> list[str]:
    """The secrets that may sign samples.

    Raises:
        SamplesNotConfigured: there are none.
    """
    secrets = [secret.get_secret_value() for secret in settings.ENV.SAMPLES_SECRET]
    if not secrets:
        raise SamplesNotConfigured("samples are not taken here: set SAMPLES_SECRET")
    return secrets
