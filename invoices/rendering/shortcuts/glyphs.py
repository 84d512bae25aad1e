"""Glyphs: a line as Pango shaped it, kept as bytes, and drawn without asking Pango again."""

from __future__ import annotations

import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from weasyprint.draw import text as drawing
from weasyprint.text.ffi import FROM_UNITS, ffi, pango
from weasyprint.text.fonts import get_pango_font_key
from weasyprint.text.line_break import Layout

_draw_first_line: Final = drawing.draw_first_line
_reactivate: Final = Layout.reactivate

#: A glyph as Pango keeps it: id, width, two offsets, flags.
_GLYPH: Final = struct.Struct("=IiiiI")
#: Pango's empty glyph and its flag for a missing one: from here on they are no glyphs of a font.
_ODD_GLYPH: Final = min(pango.PANGO_GLYPH_EMPTY, pango.PANGO_GLYPH_UNKNOWN_FLAG)
#: What may end a line or a paragraph.
_BREAKS: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
#: Before this version Pango tells another size than it draws.
_SIZES_HOLD: Final[bool] = pango.pango_version() >= 14802


@dataclass(frozen=True, slots=True)
class KnownFont:
    """One of Pango's fonts, and what WeasyPrint calls it. `layout` uses it, so that it stays where it is."""

    pango_font: Any
    key: int
    size: float
    layout: Any


@dataclass(frozen=True, slots=True)
class Run:
    """Glyphs of one font: Pango's own array, and the characters that each stands for."""

    font: KnownFont
    glyphs: bytes
    characters: Sequence[str]


def read_line(config: Any, layout: Any, line: Any) -> tuple[Run, ...] | None:
    """The runs of a layout's first line, if it has all of the text, and glyphs that all stand on the line."""
    written = layout.text.encode()
    if line == ffi.NULL or line.length != len(written) or _BREAKS.search(layout.text):
        return None
    runs = []
    run = line.runs[0]
    while run != ffi.NULL:
        item = run.data
        run = run.next
        string = item.glyphs
        glyphs = bytes(ffi.buffer(string.glyphs, string.num_glyphs * _GLYPH.size))
        if any(glyph >= _ODD_GLYPH or x or y for glyph, _, x, y, _ in _GLYPH.iter_unpack(glyphs)):
            return None
        font = _find_font(config, layout, item.item.analysis.font)
        runs.append(Run(font, glyphs, _read_characters(written, item, string.num_glyphs)))
    return tuple(runs)


def _find_font(config: Any, layout: Any, pango_font: Any) -> KnownFont:
    """A font by its address. The layout that first used it is kept, and so is the font, at its address."""
    fonts: dict[int, KnownFont] = config.__dict__.setdefault("_known_fonts", {})
    address = int(ffi.cast("uintptr_t", pango_font))
    if address not in fonts:
        key, _, size = get_pango_font_key(pango_font)
        fonts[address] = KnownFont(pango_font, key, size, layout.layout)
        layout.shelf = None
    return fonts[address]


def _read_characters(written: bytes, item: Any, count: int) -> Sequence[str]:
    """What each glyph of a run stands for, from the bounds of its cluster in the text."""
    offset, length = item.item.offset, item.item.length
    text = written[offset : offset + length]
    clusters = ffi.unpack(item.glyphs.log_clusters, count)
    if len(text) == count and clusters == list(range(count)):
        return text.decode()
    leftwards = item.item.analysis.level % 2
    ends = [length, *clusters[:-1]] if leftwards else [*clusters[1:], length]
    return [text[start:end].decode() for start, end in zip(clusters, ends, strict=True)]


def draw_first_line(stream: Any, textbox: Any, text_overflow: str, block_ellipsis: Any, matrix: Any) -> Any:
    """`draw_first_line` from the glyphs that are kept, in outline fonts; the original for anything else."""
    layout = textbox.pango_layout
    line = layout.line
    if line is None:
        return _draw_first_line(stream, textbox, text_overflow, block_ellipsis, matrix)
    fonts = [_add_font(stream, run.font) for run in line]
    if (
        text_overflow == "ellipsis"
        or block_ellipsis != "none"
        or textbox.style["font_size"] < 1e-6
        or any(font.bitmap or font.png or font.svg or font.colr for font in fonts)
    ):
        _reactivate(layout, textbox.style)
        return _draw_first_line(stream, textbox, text_overflow, block_ellipsis, matrix)
    if not textbox.text.strip():
        return []
    stream.set_text_matrix(*matrix.values)
    written = ""
    previous = None
    for run, font in zip(line, fonts, strict=True):
        if run.font is not previous:
            previous = run.font
            if written:
                stream.show_text(written)
                written = ""
            stream.set_font_size(font.hash, run.font.size)
        written += _write_run(stream, run, font)
    stream.show_text(written)
    return []


def _add_font(stream: Any, known: KnownFont) -> Any:
    font = stream._fonts.get(known.key)
    return font if font is not None else stream.add_font(known.pango_font)[0]


def _write_run(stream: Any, run: Run, font: Any) -> str:
    """A run's glyphs as hexadecimal strings with the kerning between them."""
    widths, known, size = font.widths, font.to_unicode, run.font.size
    string = "<"
    for (glyph, width, _, _, _), characters in zip(
        _GLYPH.iter_unpack(run.glyphs), run.characters, strict=True
    ):
        if glyph not in known:
            known[glyph] = characters
        string += f"{glyph:04x}"
        if glyph in widths:
            logical = widths[glyph]
        else:
            pango.pango_font_get_glyph_extents(
                run.font.pango_font, glyph, stream.ink_rect, stream.logical_rect
            )
            logical = widths[glyph] = round(stream.logical_rect.width * 1000 * FROM_UNITS / size)
        kerning = logical - width * 1000 * FROM_UNITS / size
        if kerning:
            string += f">{int(kerning)}<"
    return string[:-1] if string[-1] == "<" else string + ">"


def check_sizes() -> bool:
    """Whether this Pango and its bindings are as the bytes are read here."""
    return _SIZES_HOLD and bool(ffi.sizeof("PangoGlyphInfo") == _GLYPH.size)


SHORTCUTS: Final = [(drawing, "draw_first_line", draw_first_line)]
