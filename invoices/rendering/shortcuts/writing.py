"""Writing: the same PDF objects to the same bytes."""

from __future__ import annotations

from typing import Any, Final

import pydyf

_to_bytes: Final = pydyf._to_bytes
_Stream_data: Final = pydyf.Stream.data


def to_bytes(item: Any) -> bytes:
    """`_to_bytes`, with the types that are most often written asked first."""
    kind = type(item)
    if kind is bytes:
        return item  # type: ignore[no-any-return]
    if kind is str:
        return item.encode("ascii")  # type: ignore[no-any-return]
    if kind is float:
        if item.is_integer():
            return b"%d" % item
        return (b"%f" % item).rstrip(b"0")
    if kind is int:
        return b"%d" % item
    return _to_bytes(item)  # type: ignore[no-any-return]


def page_references(self: Any) -> tuple[bytes, ...]:
    """`PDF.page_references`, which every tag of a document asks for, made anew only when a page was added."""
    kids = self.pages["Kids"]
    cached = self.__dict__.get("_references")
    if cached is None or cached[0] != len(kids):
        cached = self._references = len(kids), tuple(b"%d 0 R" % number for number in kids[::3])
    return cached[1]  # type: ignore[no-any-return]


def _get_reference(self: Any) -> bytes:
    return b"%d %d R" % (self.number, self.generation)


def _get_dictionary(self: Any) -> bytes:
    return (
        b"<<"
        + b"".join([b"/" + to_bytes(key) + b" " + to_bytes(value) for key, value in self.items()])
        + b">>"
    )


def _get_array(self: Any) -> bytes:
    return b"[" + b" ".join([to_bytes(child) for child in self]) + b"]"


SHORTCUTS: Final = [
    (pydyf, "_to_bytes", to_bytes),
    (pydyf.PDF, "page_references", property(page_references)),
    (pydyf.Object, "reference", property(_get_reference)),
    (pydyf.Dictionary, "data", property(_get_dictionary)),
    (pydyf.Array, "data", property(_get_array)),
]
