"""Faults on request: rules that make the sandbox fail as a network or as Stripe does."""

from __future__ import annotations

import asyncio
import contextlib
import fnmatch
import random
import secrets
from dataclasses import asdict, dataclass
from typing import Any

from sandbox.engine.errors import ParamError

REQUEST_KINDS = (
    "429",  # rate_limit, nothing ran
    "500_before",  # api_error, nothing ran
    "500_after",  # the effect took place, the answer is a 500 (kept for idempotent replay, as Stripe keeps it)
    "409",  # lock_timeout, nothing ran
    "400_duplicate",  # the effect took place, the answer says that the identifier was used (repeated on the way)
    "timeout_before",  # no answer for `seconds`, nothing ran, then the connection closes
    "timeout_after",  # the effect took place, no answer for `seconds`, then the connection closes
    "drop_before",  # the connection closes at once, nothing ran
    "drop_after",  # the effect took place, the connection closes without an answer
    "slow",  # a good answer after `seconds`
)
WEBHOOK_KINDS = (
    "webhook_duplicate",  # the delivery is made twice
    "webhook_delay",  # the first attempt waits `seconds`
    "webhook_reorder",  # the delivery goes after the next one to the same endpoint (or after `seconds`)
    "webhook_drop",  # the event is recorded and never delivered
    "webhook_bad_signature",  # signed with another secret
)


@dataclass(slots=True)
class Rule:
    """One rule. ``method`` and ``path`` are shell patterns; for webhook kinds ``path`` matches the event's type."""

    id: str
    kind: str
    method: str = "*"
    path: str = "*"
    times: int | None = None
    """How many more requests it hits; None means no end."""
    probability: float = 1.0
    seconds: float = 1.0
    hits: int = 0


class Faults:
    """The rules in force. They live in memory only: a restarted sandbox is a healthy one."""

    def __init__(self) -> None:
        self._rules: list[Rule] = []
        self._removed: dict[str, asyncio.Event] = {}

    def __bool__(self) -> bool:
        return bool(self._rules)

    def add(self, wanted: dict[str, Any]) -> dict[str, Any]:
        """Add a rule from its JSON form.

        Raises:
            ParamError: an unknown key or kind, or a value out of bounds.
        """
        allowed = {"kind", "method", "path", "times", "probability", "seconds"}
        for name in wanted:
            if name not in allowed:
                raise ParamError(f"Received unknown parameter: {name}", param=name, code="parameter_unknown")
        kind = wanted.get("kind")
        if kind not in REQUEST_KINDS + WEBHOOK_KINDS:
            raise ParamError(
                f"Invalid kind: must be one of {', '.join(REQUEST_KINDS + WEBHOOK_KINDS)}", param="kind"
            )
        times: Any = wanted.get("times")
        probability: Any = wanted.get("probability", 1.0)
        seconds: Any = wanted.get("seconds", 1.0)
        if times is not None and (not isinstance(times, int) or times < 1):
            raise ParamError("times must be a positive integer or null", param="times")
        if not isinstance(probability, int | float) or not 0 < probability <= 1:
            raise ParamError("probability must be above 0 and at most 1", param="probability")
        if not isinstance(seconds, int | float) or not 0 <= seconds <= 600:
            raise ParamError("seconds must be between 0 and 600", param="seconds")
        rule = Rule(id=f"fault_{secrets.token_hex(6)}", **wanted)
        self._rules.append(rule)
        self._removed[rule.id] = asyncio.Event()
        return asdict(rule)

    async def wait(self, rule: Rule) -> None:
        """Wait for the rule's ``seconds``, or until it is removed."""
        removed = self._removed.get(rule.id)
        if removed is not None:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(removed.wait(), rule.seconds)

    def hit_request(self, method: str, path: str) -> Rule | None:
        """Return the first rule that hits this request and count the hit."""
        return self._hit(REQUEST_KINDS, method, path)

    def hit_webhook(self, event_type: str) -> Rule | None:
        """Return the first rule that hits a delivery of this event type and count the hit."""
        return self._hit(WEBHOOK_KINDS, "POST", event_type)

    def _hit(self, kinds: tuple[str, ...], method: str, path: str) -> Rule | None:
        for rule in self._rules:
            if rule.kind not in kinds or rule.times == 0:
                continue
            if not fnmatch.fnmatchcase(method, rule.method) or not fnmatch.fnmatchcase(path, rule.path):
                continue
            if rule.probability < 1 and random.random() >= rule.probability:
                continue
            rule.hits += 1
            if rule.times is not None:
                rule.times -= 1
            return rule
        return None

    def list(self) -> list[dict[str, Any]]:
        """Return every rule, spent ones included."""
        return [asdict(rule) for rule in self._rules]

    def remove(self, id: str) -> bool:
        """Remove one rule, and let what it holds up go on; False if there is none of that id."""
        self._rules = [rule for rule in self._rules if rule.id != id]
        removed = self._removed.pop(id, None)
        if removed is not None:
            removed.set()
        return removed is not None

    def clear(self) -> None:
        """Remove every rule."""
        for rule in list(self._rules):
            self.remove(rule.id)
