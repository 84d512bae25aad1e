"""Decoding of ``a[b][0]=c`` form bodies and query strings into nested dictionaries."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl

from sandbox.engine.errors import ParamError

MAX_FIELDS = 5_000
MAX_DEPTH = 12


def decode_form(text: str) -> dict[str, Any]:
    """Decode a form body. Every leaf is a string; arrays arrive as dictionaries keyed by their index.

    Both ``expand[0]=x`` (the SDKs) and ``expand[]=x`` (Stripe's CLI, curl) are understood; the latter appends.

    Raises:
        ParamError: a key is malformed, nested too deeply, or is used both as a value and as a hash.
    """
    if not text:
        return {}
    root: dict[str, Any] = {}
    try:
        pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=MAX_FIELDS, errors="strict")
    except (ValueError, UnicodeDecodeError) as error:
        raise ParamError(f"Invalid form body: {error}", param="") from error
    for key, value in pairs:
        if "[" not in key:
            root[key] = value
        else:
            _assign(root, key, value)
    return root


def _assign(root: dict[str, Any], key: str, value: str) -> None:
    parts = _split(key)
    node = root
    for position, part in enumerate(parts[:-1]):
        name = part or _append_name(node, parts[position + 1], last=position + 2 == len(parts))
        child = node.setdefault(name, {})
        if not isinstance(child, dict):
            raise ParamError("Invalid object", param=key)
        node = child
    node[parts[-1] or str(len(node))] = value


def _split(key: str) -> list[str]:
    head, _, rest = key.partition("[")
    if not head or not rest.endswith("]"):
        raise ParamError(f"Invalid request: the parameter name {key!r} is malformed.", param=key)
    parts = [head, *rest[:-1].split("][")]
    if len(parts) > MAX_DEPTH:
        raise ParamError("Invalid request: the parameters are nested too deeply.", param=key)
    return parts


def _append_name(node: dict[str, Any], next_part: str, *, last: bool) -> str:
    """Name the element that ``[]`` means: the newest one until it already holds ``next_part``."""
    if not node:
        return "0"
    newest = str(len(node) - 1)
    element = node.get(newest)
    taken = isinstance(element, dict) and last and next_part in element
    return str(len(node)) if taken or not isinstance(element, dict) else newest
