"""A stand-in for Mailgun's ``POST /v3/{domain}/messages``: takes the mail and keeps it for inspection."""

from __future__ import annotations

import base64
import binascii
import email.policy
import json
import secrets
import time
from email.message import EmailMessage
from email.parser import BytesParser
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from sandbox.engine.errors import JsonObject

if TYPE_CHECKING:
    from sandbox.engine.core import Engine

_HEADERS = [(b"content-type", b"application/json")]
_FILE_FIELDS = ("attachment", "inline")


def handle(
    engine: Engine, method: str, path: str, headers: dict[str, str], body: bytes
) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    """Answer one request below ``/v3``."""
    status, answer = _answer(engine, method, path, headers, body)
    return status, _HEADERS, json.dumps(answer).encode()


def _answer(
    engine: Engine, method: str, path: str, headers: dict[str, str], body: bytes
) -> tuple[int, JsonObject]:
    parts = path.strip("/").split("/")
    if len(parts) != 3 or parts[2] not in ("messages", "messages.mime") or method != "POST":
        return 404, {"message": "Not Found"}
    if not _is_authorized(headers):
        return 401, {"message": "Forbidden"}
    fields, files = _decode(headers.get("content-type", ""), body)
    for name in ("from", "to"):
        if not fields.get(name):
            return 400, {"message": f"{name} parameter is missing"}
    if parts[2] == "messages" and not any(fields.get(name) for name in ("text", "html", "template")):
        return 400, {
            "message": "Need at least one of 'text', 'html', 'amp-html' or 'template' parameters specified"
        }
    message_id = f"<{secrets.token_hex(10)}@{parts[1]}>"
    message: JsonObject = {
        "id": message_id,
        "domain": parts[1],
        "received_at": int(time.time()),
        "fields": fields,
        "files": files,
    }
    engine.store.put("_mail", message)
    engine.mail_tracking.report(message)
    return 200, {"id": message_id, "message": "Queued. Thank you."}


def _is_authorized(headers: dict[str, str]) -> bool:
    scheme, _, value = headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return False
    try:
        user, _, key = base64.b64decode(value, validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        return False
    return user == "api" and bool(key)


def _decode(content_type: str, body: bytes) -> tuple[dict[str, list[str]], list[dict[str, Any]]]:
    """Return the fields (each a list, Mailgun allows repetition) and the files with their contents in base64."""
    fields: dict[str, list[str]] = {}
    files: list[dict[str, Any]] = []
    if not content_type.startswith("multipart/form-data"):
        for name, value in parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True):
            fields.setdefault(name, []).append(value)
        return fields, files
    head = f"Content-Type: {content_type}\r\nMIME-Version: 1.0\r\n\r\n".encode("latin-1")
    form = BytesParser(EmailMessage, policy=email.policy.HTTP).parsebytes(head + body)
    for part in form.iter_parts():
        name = str(part.get_param("name", "", header="content-disposition"))
        content = part.get_payload(decode=True) or b""
        assert isinstance(content, bytes)
        filename = part.get_filename()
        if filename is None and name not in _FILE_FIELDS:
            fields.setdefault(name, []).append(content.decode("utf-8", "replace"))
        else:
            files.append(
                {
                    "field": name,
                    "filename": filename,
                    "content_type": part.get_content_type(),
                    "size": len(content),
                    "content_base64": base64.b64encode(content).decode(),
                }
            )
    return fields, files
