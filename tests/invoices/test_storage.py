"""PDFs in an S3 store as in production: written once, verified, and honest about failures."""

from __future__ import annotations

import hashlib
from uuid import uuid4

import pytest
from django.core.files.base import ContentFile

from billing_worker.env import load_environment
from billing_worker.settings.delivery import build_storages
from invoices.storage import (
    StorageMismatch,
    StorageUnavailable,
    get_storage,
    read_pdf,
    store_pdf,
)
from tests.support.s3 import S3Server

BODY = b"%PDF-1.7 a document"
NAME = "1042/0f8fad5b-d9cb-469f-a165-70867728950e.pdf"


@pytest.fixture(params=["files", "s3"])
def store(request, settings) -> str:
    """The project's own storage settings, on files and on an S3 server."""
    if request.param == "s3":
        server: S3Server = request.getfixturevalue("s3_server")
        bucket = f"invoices-{uuid4().hex[:12]}"
        server.create_bucket(bucket)
        env = load_environment({"STRIPE_WEBHOOK_SECRET": "whsec_x", **server.environment(bucket)})
        settings.STORAGES = {**settings.STORAGES, "invoices": build_storages(env)["invoices"]}
    return str(request.param)


def test_a_file_is_written_once_and_read_back(store):
    first = store_pdf(name=NAME, body=BODY)
    assert (first.name, first.size) == (NAME, len(BODY))
    assert first.sha256 == hashlib.sha256(BODY).hexdigest()
    assert store_pdf(name=NAME, body=BODY) == first
    assert read_pdf(name=NAME, sha256=first.sha256) == BODY


def test_a_torso_is_replaced(store):
    get_storage().save(NAME, ContentFile(BODY[:5]))
    stored = store_pdf(name=NAME, body=BODY)
    assert read_pdf(name=NAME, sha256=stored.sha256) == BODY


def test_a_lost_or_changed_file_is_not_handed_out(store):
    stored = store_pdf(name=NAME, body=BODY)
    with pytest.raises(StorageMismatch, match="was changed"):
        read_pdf(name=NAME, sha256="0" * 64)
    get_storage().delete(NAME)
    with pytest.raises(StorageMismatch, match="not in storage any more"):
        read_pdf(name=NAME, sha256=stored.sha256)


def test_a_store_that_does_not_answer_is_unavailable(settings):
    env = load_environment(
        {
            "STRIPE_WEBHOOK_SECRET": "whsec_x",
            "R2_INVOICE_BUCKET": "none",
            "R2_ENDPOINT_URL": "http://127.0.0.1:9",
            "R2_ACCESS_KEY_ID": "x",
            "R2_SECRET_ACCESS_KEY": "x",
        }
    )
    settings.STORAGES = {**settings.STORAGES, "invoices": build_storages(env)["invoices"]}
    with pytest.raises(StorageUnavailable):
        store_pdf(name=NAME, body=BODY)
    with pytest.raises(StorageUnavailable):
        read_pdf(name=NAME, sha256="0" * 64)
