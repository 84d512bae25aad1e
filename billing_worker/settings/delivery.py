"""Where mail and invoice files go: Mailgun and R2 in production, folders under `VAR_DIR` otherwise."""

from __future__ import annotations

from typing import Any

from billing_worker.env import Environment


def build_email_backend(env: Environment) -> str:
    return (
        "anymail.backends.mailgun.EmailBackend"
        if env.MAILGUN_API_KEY
        else "invoices.mail_backends.EmlFileBackend"
    )


def build_anymail(env: Environment) -> dict[str, Any]:
    if env.MAILGUN_API_KEY is None:
        return {}
    config: dict[str, Any] = {
        "MAILGUN_API_KEY": env.MAILGUN_API_KEY.get_secret_value(),
        "MAILGUN_SENDER_DOMAIN": env.MAILGUN_DOMAIN,
        "MAILGUN_API_URL": env.MAILGUN_API_URL,
        "REQUESTS_TIMEOUT": (5, 30),
    }
    if env.MAILGUN_WEBHOOK_SIGNING_KEY:
        config["MAILGUN_WEBHOOK_SIGNING_KEY"] = env.MAILGUN_WEBHOOK_SIGNING_KEY.get_secret_value()
    return config


def build_storages(env: Environment) -> dict[str, dict[str, Any]]:
    return {
        "default": {
            "BACKEND": "django.core.files.storage.FileSystemStorage",
            "OPTIONS": {"location": str(env.VAR_DIR)},
        },
        "staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"},
        "invoices": _build_invoice_storage(env),
    }


def _build_invoice_storage(env: Environment) -> dict[str, Any]:
    if not env.R2_INVOICE_BUCKET:
        return {
            "BACKEND": "django.core.files.storage.FileSystemStorage",
            "OPTIONS": {"location": str(env.VAR_DIR / "invoices")},
        }
    from botocore.config import Config

    secret = env.R2_SECRET_ACCESS_KEY
    return {
        "BACKEND": "storages.backends.s3.S3Storage",
        "OPTIONS": {
            "bucket_name": env.R2_INVOICE_BUCKET,
            "endpoint_url": env.R2_ENDPOINT_URL,
            "access_key": env.R2_ACCESS_KEY_ID,
            "secret_key": secret.get_secret_value() if secret else None,
            "region_name": "auto",
            "default_acl": None,
            "file_overwrite": False,
            "querystring_expire": env.DOWNLOAD_URL_SECONDS,
            # R2 refuses the checksums that recent boto3 adds on its own.
            "client_config": Config(
                signature_version="s3v4",
                s3={"addressing_style": "path"},
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
            ),
        },
    }
