"""The stand-in for Mailgun's messages endpoint."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from tests.sandbox.process import SandboxProcess
from tests.sandbox.receiver import Receiver

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
        timeout=60,
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
    assert requests.post(url, data=FIELDS, timeout=60).status_code == 401
    assert requests.post(url, data=FIELDS, auth=("user", "key"), timeout=60).status_code == 401
    for name in ("from", "to", "text"):
        partial = {key: value for key, value in FIELDS.items() if key != name}
        assert requests.post(url, data=partial, auth=AUTH, timeout=60).status_code == 400
    assert requests.get(url, auth=AUTH, timeout=60).status_code == 404
    assert sandbox.request("GET", "/_sandbox/mailgun/messages").body["data"] == []


@pytest.fixture
def tracked(sandbox: SandboxProcess) -> Iterator[Receiver]:
    with Receiver() as receiver:
        target = {"url": receiver.url, "signing_key": "key-tracking"}
        assert sandbox.request("POST", "/_sandbox/mailgun/tracking", json_body=target).status == 200
        yield receiver


def send(sandbox: SandboxProcess, **fields: object) -> None:
    url = f"{sandbox.url}/v3/mg.example.com/messages"
    assert requests.post(url, auth=AUTH, data=FIELDS | fields, timeout=60).status_code == 200


def read_tracking(receiver: Receiver, sandbox: SandboxProcess, count: int) -> list[dict[str, Any]]:
    sandbox.wait_for(lambda: len(receiver.received) >= count, 5)
    return [json.loads(received.body) for received in receiver.received]


def test_each_recipient_has_a_signed_tracking_webhook(sandbox: SandboxProcess, tracked: Receiver) -> None:
    send(sandbox, bcc="CRM <crm@example.com>", **{"h:Message-Id": "<17.0@example.com>", "v:mail": "17"})
    told = read_tracking(tracked, sandbox, 3)
    for payload in told:
        signature = payload["signature"]
        text = f"{signature['timestamp']}{signature['token']}".encode()
        assert signature["signature"] == hmac.new(b"key-tracking", text, hashlib.sha256).hexdigest()
    events = [payload["event-data"] for payload in told]
    assert [(event["event"], event["recipient"]) for event in events] == [
        ("delivered", "a@example.com"),
        ("delivered", "b@example.com"),
        ("delivered", "crm@example.com"),
    ]
    assert events[0]["message"]["headers"]["message-id"] == "17.0@example.com"
    assert events[0]["user-variables"] == {"mail": "17"}
    assert len({payload["signature"]["token"] for payload in told}) == 3


def test_an_address_says_what_becomes_of_it(sandbox: SandboxProcess, tracked: Receiver) -> None:
    send(
        sandbox, to=["bounce@example.com", "defer@example.com", "complain@example.com", "silent@example.com"]
    )
    events = [payload["event-data"] for payload in read_tracking(tracked, sandbox, 4)]
    assert [(event["event"], event.get("severity"), event["recipient"]) for event in events] == [
        ("failed", "permanent", "bounce@example.com"),
        ("failed", "temporary", "defer@example.com"),
        ("delivered", None, "complain@example.com"),
        ("complained", None, "complain@example.com"),
    ]


def test_a_tracking_webhook_that_was_not_taken_comes_again(
    sandbox: SandboxProcess, tracked: Receiver
) -> None:
    tracked.answers = [500]
    send(sandbox, to="a@example.com")
    first, second = read_tracking(tracked, sandbox, 2)
    assert first["event-data"] == second["event-data"]
    assert first["signature"]["token"] != second["signature"]["token"]


def test_tracking_needs_an_address_and_a_key_and_ends_without(
    sandbox: SandboxProcess, tracked: Receiver
) -> None:
    path = "/_sandbox/mailgun/tracking"
    assert sandbox.request("POST", path, json_body={"url": tracked.url}).status == 400
    assert sandbox.request("POST", path, json_body={"url": 7, "signing_key": "k"}).status == 400
    assert sandbox.request("GET", path).body["url"] == tracked.url
    assert sandbox.request("POST", path, json_body={"url": ""}).status == 200
    send(sandbox)
    assert sandbox.request("GET", path).body["url"] == ""
    assert tracked.received == []
