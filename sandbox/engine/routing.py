"""Registration of operations and the match of a request to one of them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

if TYPE_CHECKING:
    from sandbox.engine.context import Context
    from sandbox.engine.store import Store

Handler = Callable[["Context"], Any]


@dataclass(frozen=True, slots=True)
class Operation:
    """One method and path of the API, its parameter type (below ``stripe.params``) and its handler."""

    method: str
    path: str
    params: str | None
    handler: Handler
    names: tuple[str, ...]
    auth: bool = True
    refuses: frozenset[str] = frozenset()


@dataclass(slots=True)
class _Node:
    static: dict[str, _Node] = field(default_factory=dict)
    variable: _Node | None = None
    operations: dict[str, Operation] = field(default_factory=dict)


UNCOVERED = frozenset({"customer_account", "hooks"})
"""Parameters of Connect and of accounts as customers, which no operation covers."""

_root = _Node()
OPERATIONS: list[Operation] = []
LOAD_HOOKS: list[Callable[[Store], None]] = []
PERIODIC: list[tuple[float, Callable[[Context], None]]] = []


def operation(
    method: str, path: str, params: str | None = None, *, auth: bool = True, refuses: Iterable[str] = ()
) -> Callable[[Handler], Handler]:
    """Register a handler, e.g. ``@operation("POST", "/v1/customers/{customer}", params="CustomerModifyParams")``.

    The handler takes a Context and returns the answer's object, or a page from ``list_page``. ``params`` names a
    TypedDict below ``stripe.params`` (``billing.MeterCreateParams``); None means that only ``expand`` is accepted.
    ``auth=False`` leaves the key unchecked (the handler sees it as ``ctx.api_key``). ``refuses`` names parameters that
    Stripe takes and this sandbox does not cover: they are a 400 that says so, never ignored.

    Raises:
        ValueError: the method and path are already taken.
    """

    def register(handler: Handler) -> Handler:
        node, names = _root, []
        for part in path.strip("/").split("/"):
            if part.startswith("{"):
                names.append(part[1:-1])
                node.variable = node = node.variable or _Node()
            else:
                node = node.static.setdefault(part, _Node())
        if method in node.operations:
            raise ValueError(f"{method} {path} is registered twice")
        found = Operation(method, path, params, handler, tuple(names), auth, UNCOVERED | frozenset(refuses))
        node.operations[method] = found
        OPERATIONS.append(found)
        return handler

    return register


def on_load(hook: Callable[[Store], None]) -> Callable[[Store], None]:
    """Register a function that runs after the state was loaded and after every reset: declare indexes, drop caches."""
    LOAD_HOOKS.append(hook)
    return hook


def periodic(seconds: float) -> Callable[[Callable[[Context], None]], Callable[[Context], None]]:
    """Register a function that the loop calls about every ``seconds`` (wall clock) with a Context of its own."""

    def register(task: Callable[[Context], None]) -> Callable[[Context], None]:
        PERIODIC.append((seconds, task))
        return task

    return register


def match(method: str, path: str) -> tuple[Operation, dict[str, str]] | None:
    """Return the operation and the path's variables; fixed segments win over variables."""
    values: list[str] = []
    node = _walk(_root, path.strip("/").split("/"), 0, method, values)
    if node is None:
        return None
    found = node.operations[method]
    return found, dict(zip(found.names, values, strict=True))


def _walk(node: _Node, parts: list[str], at: int, method: str, values: list[str]) -> _Node | None:
    if at == len(parts):
        return node if method in node.operations else None
    child = node.static.get(parts[at])
    if child is not None:
        found = _walk(child, parts, at + 1, method, values)
        if found is not None:
            return found
    if node.variable is None or not parts[at]:
        return None
    values.append(unquote(parts[at]))
    found = _walk(node.variable, parts, at + 1, method, values)
    if found is None:
        values.pop()
    return found


def describe_operations() -> list[str]:
    """Return the rows of the README's table: the API first, then the control plane, by path."""
    ordered = sorted(OPERATIONS, key=lambda o: (o.path.startswith("/_"), o.path, o.method))
    return [f"| `{o.method} {o.path}` | {_summary(o.handler)} |" for o in ordered]


def _summary(handler: Handler) -> str:
    first = (inspect.getdoc(handler) or "").partition("\n\n")[0].replace("\n", " ").replace("|", "\\|")
    return first.partition(". ")[0].rstrip(".").replace("``", "`")
