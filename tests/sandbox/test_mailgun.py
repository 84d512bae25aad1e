"""The stand-in for Mailgun's messages endpoint."""

from __future__ import annotations

import base64

import requests

from tests.sandbox.process import SandboxProcess

AUTH = ("api", "key-sandbox")
FIELDS = {
    "from": "billing@example.com",
    "to": ["a@example.com", "b@example.com"],
    "subject": "Invoice",
    "text": "Hi",
}


def test_mail_is_queued_and_can_be_read_with_its_attachment(sandbox: SandboxProcess) -> None:
    answer = requests.post(
        f"{sandbox.url}/v3/mg.example.com/messages",
        auth=AUTH,
        data=FIELDS | {"bcc": "books@example.com", "v:invoice": "in_1", "html": "<p>Grüße</p>"},
        files=[("attachment", ("invoice.pdf", b"%PDF-1.7\r\n\x00\xff", "application/pdf"))],
        timeout=5,
    )
    assert answer.status_code == 200
    assert answer.json()["message"] == "Queued. Thank you."
    messages = sandbox.request("GET", "/_sandbox/mailgun/messages").body["data"]
    assert [message["id"] for message in messages] == [answer.json()["id"]]
    assert messages[0]["domain"] == "mg.example.com"
    assert messages[0]["fields"]["to"] == ["a@example.com", "b@example.com"]
    assert messages[0]["fields"]["bcc"] == ["books@example.com"]
    assert messages[0]["fields"]["html"] == ["<p>Grüße</p>"]
    attachment = messages[0]["files"][0]
    assert (attachment["filename"], attachment["content_type"]) == ("invoice.pdf", "application/pdf")
    assert base64.b64decode(attachment["content_base64"]) == b"%PDF-1.7\r\n\x00\xff"
    assert sandbox.request("DELETE", "/_sandbox/mailgun/messages").status == 200
    assert sandbox.request("GET", "/_sandbox/mailgun/messages").body["data"] == []


def test_mail_without_key_sender_or_body_is_refused(sandbox: SandboxProcess) -> None:
    url = f"{sandbox.url}/v3/mg.example.com/messages"
    assert requests.post(url, data=FIELDS, timeout=5).status_code == 401
    assert requests.post(url, data=FIELDS, auth=("user", "key"), timeout=5).status_code == 401
    for name in ("from", "to", "text"):
        partial = {key: value for key, value in FIELDS.items() if key != name}
        assert requests.post(url, data=partial, auth=AUTH, timeout=5).status_code == 400
    assert requests.get(url, auth=AUTH, timeout=5).status_code == 404
    assert sandbox.request("GET", "/_sandbox/mailgun/messages").body["data"] == []
