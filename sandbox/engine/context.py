"""What a handler is given."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from sandbox.engine.errors import JsonObject, missing

if TYPE_CHECKING:
    from sandbox.engine.core import Engine
    from sandbox.engine.store import Store


class Context:
    """One request, or one piece of background work.

    ``params`` are decoded and typed: integers are int, booleans are bool, decimals and everything else are str,
    nested hashes are dict, arrays are list. Where Stripe lets a field be unset, the value may be ``""``.
    ``path`` holds the path's variables.
    """

    __slots__ = ("api_key", "engine", "expand", "idempotency_key", "params", "path", "request_id", "store")

    def __init__(
        self,
        engine: Engine,
        *,
        params: dict[str, Any] | None = None,
        path: dict[str, str] | None = None,
        request_id: str | None = None,
        idempotency_key: str | None = None,
        api_key: str = "",
    ) -> None:
        self.engine = engine
        self.store: Store = engine.store
        self.params = params if params is not None else {}
        self.path = path or {}
        self.expand: list[str] = self.params.pop("expand", [])
        self.request_id = request_id
        self.idempotency_key = idempotency_key
        self.api_key = api_key

    def now(self) -> int:
        """Wall clock, epoch seconds."""
        return int(time.time())

    def now_for(self, customer_id: str | None) -> int:
        """The frozen time of the customer's test clock if it has one, else the wall clock; epoch seconds."""
        if customer_id:
            customer = self.store.get("customer", customer_id)
            clock_id = customer.get("test_clock") if customer else None
            if clock_id:
                clock = self.store.get("test_helpers.test_clock", clock_id)
                if clock:
                    frozen: int = clock["frozen_time"]
                    return frozen
        return int(time.time())

    def require(self, kind: str, id: str, param: str = "id") -> JsonObject:
        """Return the stored object.

        Raises:
            StripeError: 404 ``resource_missing`` naming ``param``.
        """
        obj = self.store.get(kind, id)
        if obj is None:
            raise missing(kind, id, param)
        return obj

    def emit(
        self, event_type: str, obj: JsonObject, previous: JsonObject | None = None, at: int | None = None
    ) -> None:
        """Record an event with a snapshot of ``obj`` as the API would show it now, and queue its deliveries.

        ``previous`` becomes ``data.previous_attributes``. ``at`` (epoch seconds) overrides the event's ``created``,
        which is otherwise the time of the object's customer.
        """
        self.engine.events.record(self, event_type, obj, previous, at)

    def emit_thin(self, event_type: str, data: JsonObject, related: JsonObject | None = None) -> None:
        """Record a thin event of API v2 about ``related`` (``id``, ``type``, ``url``) and queue its deliveries."""
        self.engine.events.record_thin(self, event_type, data, related)

    def defer(self, work: Callable[[Context], None], delay: float = 0.0) -> None:
        """Run ``work`` with a Context of its own after this answer has left, at least ``delay`` seconds from now.

        Deferred work does not survive a restart: whoever defers looks for unfinished work in a ``periodic`` task.
        """
        self.engine.defer(work, delay)
