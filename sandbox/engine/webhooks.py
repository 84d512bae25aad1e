"""Signed delivery of events to webhook endpoints, with retries that survive a restart."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sandbox.engine.errors import JsonObject
from sandbox.engine.http_client import DeliveryFailed, post

if TYPE_CHECKING:
    from sandbox.engine.faults import Faults
    from sandbox.engine.store import Store

log = logging.getLogger("sandbox.webhooks")

_DELIVERY = "_delivery"
ANSWER_TIMEOUT = 10.0
CONCURRENCY = 16
FINISHED_KEPT = 2_000
"""Finished deliveries kept for the log; older ones are dropped."""


@dataclass(frozen=True, slots=True)
class RetrySchedule:
    """Seconds between attempts. Stripe spreads its own over three days; the sandbox's default is made for tests."""

    delays: tuple[float, ...] = (0.5, 1, 2, 4, 8, 15, 30, 60, 120, 300)

    def after(self, attempts: int) -> float | None:
        """Return the pause after that many failed attempts, or None to give up."""
        return self.delays[attempts - 1] if attempts <= len(self.delays) else None


def sign(secret: str, timestamp: int, payload: str) -> str:
    """Return the ``v1`` signature over ``{timestamp}.{payload}``."""
    return hmac.new(secret.encode(), f"{timestamp}.{payload}".encode(), hashlib.sha256).hexdigest()


class Deliveries:
    """The queue of deliveries: one row per event and endpoint, in the store until it succeeded or was given up."""

    def __init__(self, store: Store, faults: Faults, schedule: RetrySchedule) -> None:
        self._store = store
        self._faults = faults
        self._schedule = schedule
        self._ready: deque[str] = deque()
        self._wake = asyncio.Event()
        self._timers: set[asyncio.TimerHandle] = set()
        self._workers: list[asyncio.Task[None]] = []
        self._reordered: dict[str, str] = {}
        self._finished: deque[str] = deque()

    # -- queueing -----------------------------------------------------------------------------------------------

    def queue(self, event: JsonObject) -> int:
        """Queue one delivery per endpoint that listens to the event's type. Returns how many."""
        queued = 0
        for endpoint in self._store.all("webhook_endpoint"):
            if endpoint["status"] != "enabled":
                continue
            if "*" not in endpoint["enabled_events"] and event["type"] not in endpoint["enabled_events"]:
                continue
            queued += 1
            self._queue_one(event, endpoint)
        return queued

    def _queue_one(self, event: JsonObject, endpoint: JsonObject) -> None:
        row: JsonObject = {
            "id": self._store.new_id("whd"),
            "event": event["id"],
            "event_type": event["type"],
            "endpoint": endpoint["id"],
            "state": "pending",
            "attempts": [],
            "next_attempt_at": time.time(),
            "bad_signature": False,
        }
        rule = self._faults.hit_webhook(event["type"]) if self._faults else None
        if rule is not None and rule.kind == "webhook_drop":
            row["state"] = "dropped"
        self._store.put(_DELIVERY, row)
        if row["state"] == "dropped":
            return
        if rule is not None and rule.kind == "webhook_bad_signature":
            row["bad_signature"] = True
        if rule is not None and rule.kind == "webhook_delay":
            self._later(row, rule.seconds)
        elif rule is not None and rule.kind == "webhook_reorder":
            self._reordered[endpoint["id"]] = row["id"]
            self._later(row, rule.seconds)
        else:
            self._push(row["id"])
            if rule is not None and rule.kind == "webhook_duplicate":
                self._push(row["id"])
            held = self._reordered.pop(endpoint["id"], None)
            if held is not None:
                self._push(held)

    def _push(self, id: str) -> None:
        self._ready.append(id)
        self._wake.set()

    def _later(self, row: JsonObject, seconds: float) -> None:
        row["next_attempt_at"] = time.time() + seconds
        self._store.put(_DELIVERY, row)
        loop = asyncio.get_running_loop()
        timer = loop.call_later(seconds, self._due, row["id"])
        self._timers.add(timer)
        if len(self._timers) > 1_000:
            now = loop.time()
            self._timers = {timer for timer in self._timers if timer.when() > now and not timer.cancelled()}

    def _due(self, id: str) -> None:
        row = self._store.get(_DELIVERY, id)
        if row is not None and row["state"] == "pending" and row["next_attempt_at"] <= time.time() + 0.01:
            self._push(id)

    def retry_now(self, id: str) -> bool:
        """Attempt a pending or given-up delivery at once; False if there is none of that id."""
        row = self._store.get(_DELIVERY, id)
        if row is None:
            return False
        if row["state"] == "failed":
            row["state"] = "pending"
            self._store.put(_DELIVERY, row)
        self._push(id)
        return True

    # -- life ---------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the workers and take up what a former process left undelivered."""
        for row in self._store.all(_DELIVERY):
            if row["state"] == "pending":
                self._later(row, max(0.0, row["next_attempt_at"] - time.time()))
            else:
                self._finished.append(row["id"])
        loop = asyncio.get_running_loop()
        self._workers = [loop.create_task(self._work()) for _ in range(CONCURRENCY)]

    async def stop(self) -> None:
        """Cancel the workers; pending rows stay in the store."""
        for timer in self._timers:
            timer.cancel()
        for worker in self._workers:
            worker.cancel()
        await asyncio.gather(*self._workers, return_exceptions=True)

    def clear(self) -> None:
        """Forget what is queued; attempts under way end without a trace."""
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()
        self._ready.clear()
        self._reordered.clear()
        self._finished.clear()

    # -- delivering ---------------------------------------------------------------------------------------------

    async def _work(self) -> None:
        while True:
            while not self._ready:
                self._wake.clear()
                await self._wake.wait()
            id = self._ready.popleft()
            try:
                await self.attempt(id)
            except Exception:
                log.exception("delivery %s failed inside the sandbox", id)

    async def attempt(self, id: str) -> None:
        """Make one attempt now and settle its outcome."""
        row = self._store.get(_DELIVERY, id)
        if row is None:
            return
        endpoint = self._store.get("webhook_endpoint", row["endpoint"])
        event = self._event(row)
        if endpoint is None or endpoint["status"] != "enabled" or event is None:
            self._finish(row, "abandoned")
            return
        self._store.commit()  # the receiver may call back at once: what it reads must be durable first
        started = time.time()
        try:
            status, answer = await self._send(row, endpoint, event)
            outcome: JsonObject = {"status": status, "answer": answer[:500]}
        except DeliveryFailed as error:
            outcome = {"status": None, "error": str(error)}
        attempt = {"at": started, "seconds": round(time.time() - started, 3), **outcome}
        if self._store.get(_DELIVERY, id) is row:
            self._settle(row, attempt)
            self._store.commit()

    def _event(self, row: JsonObject) -> JsonObject | None:
        from sandbox.engine.events import THIN

        return self._store.get("event", row["event"]) or self._store.get(THIN, row["event"])

    async def _send(self, row: JsonObject, endpoint: JsonObject, event: JsonObject) -> tuple[int, str]:
        from sandbox.engine.events import load_event

        is_thin = event["object"] != "event"
        payload = serialize_event(event if is_thin else load_event(self._store, event))
        timestamp = int(time.time())
        secrets = [endpoint["_secret"], *endpoint.get("_old_secrets", [])]
        if row.get("bad_signature"):
            secrets = ["whsec_wrong"]
        signatures = ",".join(f"v1={sign(secret, timestamp, payload)}" for secret in secrets)
        headers = {
            "Content-Type": "application/json; charset=utf-8",
            "User-Agent": "Stripe/1.0 (+https://stripe.com/docs/webhooks)",
            "Accept": "*/*; q=0.5, application/xml",
            "Cache-Control": "no-cache",
            "Stripe-Signature": f"t={timestamp},{signatures}",
        }
        return await post(endpoint["url"], payload.encode(), headers, timeout=ANSWER_TIMEOUT)

    def _settle(self, row: JsonObject, attempt: dict[str, Any]) -> None:
        row["attempts"].append(attempt)
        status = attempt["status"]
        if status is not None and 200 <= status < 300:
            self._finish(row, "delivered")
            return
        if row["state"] != "pending":
            return
        pause = self._schedule.after(len(row["attempts"]))
        if pause is None:
            self._finish(row, "failed")
        else:
            self._later(row, pause)

    def _finish(self, row: JsonObject, state: str) -> None:
        was_pending = row["state"] == "pending"
        row["state"] = state if was_pending else row["state"]
        row["next_attempt_at"] = None
        self._store.put(_DELIVERY, row)
        if not was_pending:
            return
        event = self._store.get("event", row["event"])  # a thin event doesn't count its deliveries
        if event is not None and event["pending_webhooks"] > 0 and state == "delivered":
            event["pending_webhooks"] -= 1
            self._store.put("event", event)
        self._finished.append(row["id"])
        while len(self._finished) > FINISHED_KEPT:
            self._store.delete(_DELIVERY, self._finished.popleft())


def serialize_event(event: JsonObject) -> str:
    """Return the body of a delivery: like Stripe's it is not the compact form, so only the raw bytes verify."""
    import json

    return json.dumps({"id": event["id"], "object": event["object"], **event}, ensure_ascii=False)
