"""The engine: one store, its events and deliveries, and the execution of one API request."""

from __future__ import annotations

import asyncio
import json
import logging
import random
import secrets
import string
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sandbox.engine import routing
from sandbox.engine.context import Context
from sandbox.engine.errors import JsonObject, ParamError, StripeError
from sandbox.engine.events import EventLog
from sandbox.engine.expand import expand_answer
from sandbox.engine.faults import Faults
from sandbox.engine.idempotency import Replays
from sandbox.engine.mailgun_tracking import MailTracking
from sandbox.engine.params import compile_params
from sandbox.engine.shapes import render
from sandbox.engine.store import Store
from sandbox.engine.webhooks import Deliveries, RetrySchedule

log = logging.getLogger("sandbox")

encode_json: Callable[[Any], str] = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


class Engine:
    """Everything one sandbox process owns. Requests are executed one at a time, on the event loop."""

    def __init__(self, state: Path | None, *, retry_schedule: RetrySchedule) -> None:
        """Open the state. ``state`` None keeps it in memory.

        Raises:
            StateRefused: another sandbox runs on this file, or it is no database.
        """
        self.store = Store(state)
        self.faults = Faults()
        self.deliveries = Deliveries(self.store, self.faults, retry_schedule)
        self.events = EventLog(self.store, self.deliveries)
        self.replays = Replays(self.store)
        self.mail_tracking = MailTracking(self.store)
        self._forwarded: JsonObject | None = None
        self._committed: asyncio.Future[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.run_load_hooks()

    def run_load_hooks(self) -> None:
        """Let the resources declare their indexes and rebuild what they derive."""
        for hook in routing.LOAD_HOOKS:
            hook(self.store)

    def context(self) -> Context:
        """Return a Context for background work."""
        return Context(self)

    def forward_to(self, url: str, secret: str | None, event_types: str) -> None:
        """Keep one webhook endpoint at ``url``, so that a caller need not create it; repeated calls update it."""
        endpoint: JsonObject = {
            "id": "we_forwarded",
            "object": "webhook_endpoint",
            "api_version": None,
            "created": int(time.time()),
            "enabled_events": [name.strip() for name in event_types.split(",")],
            "_secret": secret or f"whsec_{secrets.token_hex(16)}",
            "status": "enabled",
            "url": url,
        }
        self._forwarded = endpoint
        self.store.put("webhook_endpoint", dict(endpoint))
        self.store.commit()

    # -- one request --------------------------------------------------------------------------------------------

    def execute(
        self, operation: routing.Operation, path: dict[str, str], raw: dict[str, Any], headers: RequestHeaders
    ) -> tuple[int, JsonObject]:
        """Check the parameters, run the handler and render its answer.

        Raises:
            ParamError: the parameters were refused and nothing ran.
        """
        params = compile_params(operation.params)(raw)
        if not operation.refuses.isdisjoint(params):
            name = min(operation.refuses.intersection(params))
            raise ParamError(
                f"The sandbox does not cover the parameter {name} here; see its README.", param=name
            )
        ctx = Context(
            self,
            params=params,
            path=path,
            request_id=headers.request_id,
            idempotency_key=headers.idempotency_key,
            api_key=headers.api_key,
        )
        try:
            answer = render(operation.handler(ctx))
            if ctx.expand:
                answer = expand_answer(ctx, answer, ctx.expand)
        except ParamError:
            raise
        except StripeError as error:
            return error.status, error.body(headers.request_id)
        return 200, answer

    async def committed(self) -> None:
        """Return when everything stored so far is durable. Requests of one turn of the loop share a commit."""
        if self._committed is None:
            if not self.store.is_dirty:
                return
            loop = asyncio.get_running_loop()
            self._committed = loop.create_future()
            loop.call_soon(self._commit, self._committed)
        await self._committed

    def _commit(self, future: asyncio.Future[None]) -> None:
        self._committed = None
        try:
            self.store.commit()
        except Exception as error:
            future.set_exception(error)
            raise
        future.set_result(None)

    # -- background ---------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start deliveries and periodic work; needs a running loop."""
        self.deliveries.start()
        for seconds, task in routing.PERIODIC:
            self._spawn(self._repeat(seconds, task))

    async def stop(self) -> None:
        """Stop background work and close the state file."""
        tasks = [*self._tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.deliveries.stop()
        await self.mail_tracking.stop()
        self.store.close()

    def defer(self, work: Callable[[Context], None], delay: float) -> None:
        """Run ``work`` soon, outside the request that asked for it."""

        async def run() -> None:
            await asyncio.sleep(delay)
            await self._run_background(work)

        self._spawn(run())

    def reset(self) -> None:
        """Forget all state, faults and pending deliveries. Deferred work that is under way finds nothing to do."""
        self.store.reset()
        self.faults.clear()
        self.replays.clear()
        self.deliveries.clear()
        self.mail_tracking.clear()
        if self._forwarded is not None:
            self.store.put("webhook_endpoint", dict(self._forwarded))
        self.run_load_hooks()

    async def _repeat(self, seconds: float, task: Callable[[Context], None]) -> None:
        while True:
            await asyncio.sleep(seconds)
            await self._run_background(task)

    async def _run_background(self, work: Callable[[Context], None]) -> None:
        try:
            work(self.context())
        except Exception:
            log.exception("background work %s failed", getattr(work, "__qualname__", work))
        await self.committed()

    def _spawn(self, coroutine: Any) -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


class RequestHeaders:
    """The headers of a request that matter to its execution."""

    __slots__ = ("api_key", "idempotency_key", "request_id", "version")

    def __init__(self, api_key: str, idempotency_key: str | None, version: str | None) -> None:
        self.api_key = api_key
        self.idempotency_key = idempotency_key
        self.version = version
        self.request_id = new_request_id()


def new_request_id() -> str:
    """Return a fresh ``req_...``."""
    return "req_" + "".join(random.choices(_REQUEST_ALPHABET, k=14))


_REQUEST_ALPHABET = string.ascii_letters + string.digits
