"""What Mailgun tells of a message after it took it: signed tracking webhooks, one for each recipient."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import logging
import secrets
import time
from collections import deque
from email.utils import getaddresses
from typing import Any

from sandbox.engine.errors import JsonObject, ParamError
from sandbox.engine.http_client import DeliveryFailed, post
from sandbox.engine.store import Store

log = logging.getLogger("sandbox")

_KIND = "_mail_tracking"
_ID = "webhook"
#: Attempts under way at once.
CONCURRENCY = 8
#: Pauses between attempts in seconds; Mailgun goes on for eight hours. https://documentation.mailgun.com/docs/mailgun/user-manual/events/webhooks
RETRIES = (1.0, 5.0, 30.0)
ANSWER_TIMEOUT = 10.0

#: What becomes of a recipient, by how the local part of the address begins; others are delivered.
_OUTCOMES: dict[str, list[JsonObject]] = {
    "bounce": [
        {
            "event": "failed",
            "severity": "permanent",
            "reason": "bounce",
            "delivery-status": {"code": 550, "message": "5.1.1 No such mailbox", "description": ""},
        }
    ],
    "defer": [
        {
            "event": "failed",
            "severity": "temporary",
            "reason": "generic",
            "delivery-status": {"code": 452, "message": "4.2.2 Mailbox full", "description": ""},
        }
    ],
    "complain": [
        {"event": "delivered", "delivery-status": {"code": 250, "message": "OK", "description": ""}},
        {"event": "complained"},
    ],
    "silent": [],
}
_DELIVERED: list[JsonObject] = [
    {"event": "delivered", "delivery-status": {"code": 250, "message": "OK", "description": ""}}
]


class MailTracking:
    """Where tracking goes (kept in the state), and what is on its way there (lost with the process)."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._waiting: deque[JsonObject] = deque()
        self._tasks: set[asyncio.Task[None]] = set()

    def get(self) -> JsonObject:
        """The address and signing key in force; both empty while there is none."""
        return self._store.get(_KIND, _ID) or {"id": _ID, "url": "", "signing_key": ""}

    def configure(self, url: Any, signing_key: Any) -> JsonObject:
        """Report to `url` from now on, signed with the key; an empty address ends it.

        Raises:
            ParamError: one of them is no text, or an address has no key.
        """
        for name, value in (("url", url), ("signing_key", signing_key)):
            if not isinstance(value, str):
                raise ParamError(f"Invalid string: {name}", param=name)
        if url and not signing_key:
            raise ParamError("Missing required param: signing_key.", param="signing_key")
        row: JsonObject = {"id": _ID, "url": url, "signing_key": signing_key}
        self._store.put(_KIND, row)
        return row

    def report(self, message: JsonObject) -> None:
        """Queue what happens to each recipient of a message that was just taken."""
        if not self.get()["url"]:
            return
        fields = message["fields"]
        given = [value for name in ("to", "cc", "bcc") for value in fields.get(name, [])]
        for recipient in dict.fromkeys(address for _, address in getaddresses(given) if address):
            local = recipient.partition("@")[0].lower()
            told = next((told for name, told in _OUTCOMES.items() if local.startswith(name)), _DELIVERED)
            self._waiting.extend(_describe(message, recipient, data) for data in told)
        if self._waiting and len(self._tasks) < CONCURRENCY:
            task = asyncio.get_running_loop().create_task(self._work())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def stop(self) -> None:
        """Forget what is on its way."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.clear()

    def clear(self) -> None:
        """Forget what waits; attempts under way end without a trace."""
        self._waiting.clear()

    async def _work(self) -> None:
        while self._waiting:
            data = self._waiting.popleft()
            try:
                await self._deliver(data)
            except Exception:
                log.exception("a tracking webhook failed inside the sandbox")

    async def _deliver(self, data: JsonObject) -> None:
        for pause in (*RETRIES, None):
            target = self.get()
            if not target["url"]:
                return
            body = json.dumps({"signature": sign(target["signing_key"]), "event-data": data}).encode()
            headers = {"Content-Type": "application/json", "User-Agent": "Mailgun/1.0"}
            try:
                status, _ = await post(target["url"], body, headers, timeout=ANSWER_TIMEOUT)
            except DeliveryFailed as error:
                log.info("tracking webhook: %s", error)
                status = 0
            # 406 is a receiver's way to say that it will never take this one.
            if 200 <= status < 300 or status == 406 or pause is None:
                return
            await asyncio.sleep(pause)


def sign(key: str) -> JsonObject:
    """A fresh token and its signature. https://documentation.mailgun.com/docs/mailgun/user-manual/events/webhooks#securing-webhooks"""
    timestamp, token = str(int(time.time())), secrets.token_hex(25)
    digest = hmac.new(key.encode(), f"{timestamp}{token}".encode(), hashlib.sha256).hexdigest()
    return {"timestamp": timestamp, "token": token, "signature": digest}


def _describe(message: JsonObject, recipient: str, data: JsonObject) -> JsonObject:
    fields = message["fields"]
    given = next((values[0] for name, values in fields.items() if name.lower() == "h:message-id"), "")
    variables = {name[2:]: values[0] for name, values in fields.items() if name.lower().startswith("v:")}
    return {
        **data,
        "id": secrets.token_urlsafe(16),
        "timestamp": time.time(),
        "log-level": "error" if data["event"] == "failed" else "info",
        "recipient": recipient,
        "recipient-domain": recipient.rpartition("@")[2],
        "message": {
            "headers": {
                "message-id": (given or message["id"]).strip("<> "),
                "to": ", ".join(fields.get("to", [])),
                "from": fields["from"][0],
                "subject": fields.get("subject", [""])[0],
            }
        },
        "tags": [value for name in ("o:tag", "o:tags") for value in fields.get(name, [])],
        "user-variables": variables,
    }
