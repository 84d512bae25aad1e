"""The pay link as a QR code, drawn as one path: sharp at any size, and no picture to pack and unpack."""

from __future__ import annotations

from typing import Any, Final

import segno
from tinycss2.color5 import parse_color  # type: ignore[import-untyped]

#: A fixed mask saves trying all eight; readers take any.
_MASK: Final = 3
_BLACK: Final = parse_color("black")


class QrCode:
    """A QR code as WeasyPrint draws an image: its dark modules, in rows from the top, without a margin."""

    def __init__(self, text: str) -> None:
        self.rows: tuple[bytearray, ...] = segno.make_qr(text, error="m", mask=_MASK).matrix

    def get_intrinsic_size(self, resolution: float, font_size: float) -> tuple[float, float, float]:
        """Width and height in pixels, and their ratio: four pixels for a module."""
        size = 4 * len(self.rows) / resolution
        return size, size, 1

    def draw(self, stream: Any, width: float, height: float, style: Any) -> None:
        """All of it is one path, so that no renderer leaves hairlines between the modules."""
        stream.transform(a=width / len(self.rows), d=height / len(self.rows))
        stream.set_color(_BLACK)
        for top, row in enumerate(self.rows):
            for left, length in find_runs(row):
                stream.rectangle(left, top, length, 1)
        stream.fill()


def find_runs(row: bytearray) -> list[tuple[int, int]]:
    """Where the dark modules of a row begin, and how many follow each other there."""
    runs = []
    start = row.find(1)
    while start != -1:
        end = row.find(0, start)
        end = len(row) if end == -1 else end
        runs.append((start, end - start))
        start = row.find(1, end)
    return runs
