"""Shorter ways through WeasyPrint to the same bytes.

WeasyPrint prints any HTML once. We print one family of documents thousands of times: the same styles, fonts and boxes,
which it computes anew for every document, many of them for every box. Each function here stands in for one of its
functions, does the same with less work where our documents allow it, and leaves everything else to the original.

The rule for all of them: **with and without shortcuts a document has the same bytes.** A test prints every variant
both ways. They are written for one version of WeasyPrint and pydyf, line by line, so they are put in place for that
version alone: with another, documents are printed without them, more slowly, and `manage.py check` says so.
Rendering replaces these functions in the whole process, where nothing else uses WeasyPrint.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import RLock
from typing import Any, Final

import pydyf
import weasyprint

from invoices.rendering.shortcuts import boxes, drawing, glyphs, styles, texts, writing

#: What the shortcuts were written for. Another version: read what changed in the functions that are replaced, then
#: correct the shortcuts and these numbers together.
WRITTEN_FOR: Final = {"weasyprint": "70.0", "pydyf": "0.13.0"}

_LOCK: Final = RLock()


@dataclass(frozen=True, slots=True)
class Shortcut:
    """`replacement` stands in for the attribute `name` of `owner`, a class or a module."""

    owner: Any
    name: str
    replacement: Any
    original: Any


SHORTCUTS: Final = tuple(
    Shortcut(owner, name, replacement, owner.__dict__[name])
    for module in (texts, glyphs, styles, boxes, drawing, writing)
    for owner, name, replacement in module.SHORTCUTS
)


def find_versions() -> dict[str, str]:
    return {"weasyprint": weasyprint.__version__, "pydyf": pydyf.__version__}


def fit() -> bool:
    """Whether the installed versions are those that the shortcuts were written for."""
    return find_versions() == WRITTEN_FOR and glyphs.check_sizes()


_placed = False
_left_out = False


@contextmanager
def taken() -> Iterator[None]:
    """Within it WeasyPrint takes the shortcuts, if they fit. One document at a time in a process."""
    with _LOCK:
        _place(place=fit() and not _left_out)
        yield


@contextmanager
def left_out() -> Iterator[None]:
    """Within it documents are printed as WeasyPrint does by itself: to compare, in tests and measurements."""
    global _left_out
    with _LOCK:
        _left_out = True
        try:
            yield
        finally:
            _left_out = False


def _place(*, place: bool) -> None:
    global _placed
    if place == _placed:
        return
    for shortcut in SHORTCUTS:
        old, new = shortcut.original, shortcut.replacement
        if not place:
            old, new = new, old
        for owner in _find_owners(shortcut, old):
            setattr(owner, shortcut.name, new)
    _placed = place


def _find_owners(shortcut: Shortcut, value: Any) -> list[Any]:
    """The class, or every module of WeasyPrint and pydyf that has the function under its name."""
    if isinstance(shortcut.owner, type):
        return [shortcut.owner]
    return [
        module
        for name, module in list(sys.modules.items())
        if name.split(".")[0] in WRITTEN_FOR and getattr(module, shortcut.name, None) is value
    ]
