"""The QR code: every dark module, and no other, in one path."""

from __future__ import annotations

import pydyf
import segno

from invoices.rendering.qr import QrCode, find_runs

URL = "https://invoice.stripe.example.com/i/acct_1Example/live_sample?s=ap"


class Canvas(pydyf.Stream):
    """Notes the modules that rectangles cover, and each fill."""

    def __init__(self) -> None:
        super().__init__()
        self.dark: list[tuple[int, int]] = []
        self.fills = 0
        self.scale = (0.0, 0.0)

    def transform(self, a, d) -> None:
        self.scale = (a, d)

    def set_color(self, color) -> None:
        assert tuple(color.to("srgb").coordinates) == (0, 0, 0)

    def rectangle(self, x, y, width, height) -> None:
        assert height == 1
        self.dark += [(x + step, y) for step in range(width)]

    def fill(self, even_odd=False) -> None:
        self.fills += 1


def test_the_code_that_is_drawn_is_the_code():
    code, canvas = QrCode(URL), Canvas()
    code.draw(canvas, 82.0, 82.0, None)
    matrix = segno.make_qr(URL, error="m", mask=3).matrix
    expected = [(x, y) for y, row in enumerate(matrix) for x, module in enumerate(row) if module]
    assert canvas.dark == expected
    assert len(expected) > 500
    assert canvas.fills == 1
    assert canvas.scale == (82 / len(matrix), 82 / len(matrix))
    assert code.get_intrinsic_size(1, 10) == (4 * len(matrix), 4 * len(matrix), 1)


def test_runs_are_found_at_both_ends_of_a_row():
    assert find_runs(bytearray([1, 1, 0, 0, 1, 0, 1])) == [(0, 2), (4, 1), (6, 1)]
    assert find_runs(bytearray([0, 0])) == []
    assert find_runs(bytearray([0, 1])) == [(1, 1)]
