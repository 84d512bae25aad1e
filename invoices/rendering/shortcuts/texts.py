"""Texts: Pango's objects are kept and used again, because the same few fonts and sizes print everything."""

from __future__ import annotations

import struct
from typing import Any, Final

from weasyprint.draw import text as drawing
from weasyprint.text import line_break
from weasyprint.text.constants import LST_TO_ISO, PANGO_DIRECTION
from weasyprint.text.ffi import FROM_UNITS, ffi, gobject, pango
from weasyprint.text.fonts import font_features, get_font_description
from weasyprint.text.line_break import Layout

_setup: Final = Layout.setup
_set_text: Final = Layout.set_text
_deactivate: Final = Layout.deactivate
_strut: Final = line_break.strut
_draw_first_line: Final = drawing.draw_first_line

_RECTANGLE: Final = ffi.new("PangoRectangle *")
#: A glyph as Pango keeps it: id, width, two offsets, flags.
_GLYPH: Final = struct.Struct("=IiiiI")
assert ffi.sizeof("PangoGlyphInfo") == _GLYPH.size


class Shelf:
    """Pango layouts of one font, size, language and direction, ready for the next text.

    A layout is prepared once: its font, its features, and no hyphens where words may be broken.
    """

    def __init__(self, style: Any, context: Any, language: Any, *, breaks_words: bool) -> None:
        self.context = context
        self.language = language
        self.description = get_font_description(style)
        self.attributes = _make_attributes(style, breaks_words=breaks_words)
        self.layouts: list[Any] = []

    def take(self) -> Any:
        if self.layouts:
            return self.layouts.pop()
        layout = ffi.gc(pango.pango_layout_new(self.context), gobject.g_object_unref)
        pango.pango_layout_set_auto_dir(layout, False)
        pango.pango_layout_set_font_description(layout, self.description)
        if self.attributes is not None:
            pango.pango_layout_set_attributes(layout, self.attributes)
        return layout

    def put_back(self, layout: Any) -> None:
        pango.pango_layout_set_width(layout, -1)
        pango.pango_layout_set_wrap(layout, pango.PANGO_WRAP_WORD)
        pango.pango_layout_set_ellipsize(layout, pango.PANGO_ELLIPSIZE_NONE)
        pango.pango_layout_set_single_paragraph_mode(layout, False)
        self.layouts.append(layout)


def _make_attributes(style: Any, *, breaks_words: bool) -> Any:
    features = _find_features(style)
    if not features and not breaks_words:
        return None
    attributes = ffi.gc(pango.pango_attr_list_new(), pango.pango_attr_list_unref)
    if features:
        written = ",".join(f"{key} {value}" for key, value in features.items()).encode()
        pango.pango_attr_list_insert(attributes, pango.pango_attr_font_features_new(written))
    if breaks_words:
        # Over any text: an attribute's own bounds are from the beginning to the end.
        pango.pango_attr_list_change(attributes, pango.pango_attr_insert_hyphens_new(False))
    return attributes


def _find_features(style: Any) -> dict[str, Any]:
    return dict(
        font_features(
            style["font_kerning"],
            style["font_variant_ligatures"],
            style["font_variant_position"],
            style["font_variant_caps"],
            style["font_variant_numeric"],
            style["font_variant_alternates"],
            style["font_variant_east_asian"],
            style["font_feature_settings"],
        )
    )


def find_shelf(style: Any) -> Shelf | None:
    """The shelf for texts of a style; none if the style asks for what a prepared layout cannot do."""
    try:
        return style._shelf  # type: ignore[no-any-return]
    except AttributeError:
        style._shelf = _find_shelf(style)
        return style._shelf  # type: ignore[no-any-return]


def _find_shelf(style: Any) -> Shelf | None:
    plain = (
        style["text_decoration_line"] == "none"
        and style["letter_spacing"] in ("normal", 0)
        and not style["word_spacing"]
    )
    if not plain:
        return None
    config = style.font_config
    shelves = config.__dict__.setdefault("_shelves", {})
    breaks_words = style["overflow_wrap"] in ("anywhere", "break-word")
    kerning, direction = style["font_kerning"], style["direction"]
    key = (line_break._font_style_cache_key(style), style["font_size"], kerning, direction, breaks_words)
    if key not in shelves:
        context, language = _find_context(style, direction)
        shelves[key] = Shelf(style, context, language, breaks_words=breaks_words)
    return shelves[key]  # type: ignore[no-any-return]


def _find_context(style: Any, direction: str) -> tuple[Any, Any]:
    """One of Pango's contexts, and the language, for all texts in a language and a direction."""
    override = style["font_language_override"]
    name = style["lang"] if override == "normal" else LST_TO_ISO.get(override.lower(), override)
    contexts = style.font_config.__dict__.setdefault("_contexts", {})
    if (name, direction) not in contexts:
        context = ffi.gc(
            pango.pango_font_map_create_context(style.font_config.font_map), gobject.g_object_unref
        )
        pango.pango_context_set_round_glyph_positions(context, False)
        pango.pango_context_set_base_dir(context, PANGO_DIRECTION[direction])
        if name:
            language = pango.pango_language_from_string(name.encode())
            pango.pango_context_set_language(context, language)
        else:
            language = pango.pango_language_get_default()
        contexts[name, direction] = context, language
    return contexts[name, direction]  # type: ignore[no-any-return]


def setup(self: Any, style: Any) -> None:
    """`Layout.setup`, with a layout from the shelf."""
    shelf = find_shelf(style) if not self.justification_spacing else None
    self.shelf = shelf
    if shelf is None:
        _setup(self, style)
        return
    self.style = style
    self.first_line_direction = 0
    self.language = shelf.language
    self.ascent = self.underline_position = self.strikethrough_position = None
    self.layout = shelf.take()


def set_text(self: Any, text: str, justify: bool = False) -> None:
    """`Layout.set_text` for a layout that has its attributes."""
    if self.shelf is None:
        _set_text(self, text, justify)
        return
    if "\t" in text:
        # Tab stops stay with a layout: this one does not go back to the shelf.
        self.shelf = None
        _set_text(self, text, justify)
        return
    index = text.find("\n")
    if index != -1:
        text = text[: index + 2]
    self.text = text
    written = text.encode().replace(b"\x00", b"")
    pango.pango_layout_set_text(self.layout, written, len(written))


def deactivate(self: Any) -> None:
    """`Layout.deactivate`: the layout goes back to the shelf."""
    if self.shelf is not None:
        self.shelf.put_back(self.layout)
    _deactivate(self)


def line_size(line: Any, style: Any) -> tuple[float, float]:
    """`line_size` with one rectangle for all lines."""
    pango.pango_layout_line_get_extents(line, ffi.NULL, _RECTANGLE)
    width = _RECTANGLE.width * FROM_UNITS
    height = _RECTANGLE.height * FROM_UNITS
    if style["letter_spacing"] != "normal":
        width += style["letter_spacing"]
    return width, height


def strut(style: Any) -> tuple[float, float]:
    """`strut`, asked once of a style."""
    try:
        return style._strut  # type: ignore[no-any-return]
    except AttributeError:
        style._strut = _strut(style)
        return style._strut  # type: ignore[no-any-return]


def draw_first_line(stream: Any, textbox: Any, text_overflow: str, block_ellipsis: Any, matrix: Any) -> Any:
    """`draw_first_line` for texts in outline fonts whose glyphs all stand on the line; the original for the rest.

    Looks at all of a text's glyphs before it writes anything, so that it can still leave it to the original.
    """
    text = textbox.text
    if text_overflow == "ellipsis" or block_ellipsis != "none" or not text.strip():
        return _draw_first_line(stream, textbox, text_overflow, block_ellipsis, matrix)
    layout = textbox.pango_layout
    pango.pango_layout_set_single_paragraph_mode(layout.layout, True)
    line, _ = layout.get_first_line()
    runs = []
    run = line.runs[0]
    while run != ffi.NULL:
        item = run.data
        run = run.next
        font, size = stream.add_font(item.item.analysis.font)
        string = item.glyphs
        glyphs = list(_GLYPH.iter_unpack(ffi.buffer(string.glyphs, string.num_glyphs * _GLYPH.size)))
        odd = (font.bitmap or font.png or font.svg or font.colr or pango.pango_version() < 14802) or any(
            glyph >= _ODD_GLYPH or x or y for glyph, _, x, y, _ in glyphs
        )
        if odd or not size:
            return _draw_first_line(stream, textbox, text_overflow, block_ellipsis, matrix)
        runs.append((item, font, size, glyphs))
    stream.set_text_matrix(*matrix.values)
    written: list[str] = []
    previous = None
    for item, font, size, glyphs in runs:
        pango_font = item.item.analysis.font
        if pango_font != previous:
            previous = pango_font
            if written:
                stream.show_text("".join(written))
                written = []
            stream.set_font_size(font.hash, size)
        _write_run(stream, layout, item, font, size, glyphs, written)
    stream.show_text("".join(written))
    return []


#: Pango's empty glyph and its flag for a missing one.
_ODD_GLYPH: Final = min(pango.PANGO_GLYPH_EMPTY, pango.PANGO_GLYPH_UNKNOWN_FLAG)


def _write_run(
    stream: Any, layout: Any, item: Any, font: Any, size: float, glyphs: list[Any], written: list[str]
) -> None:
    """Add a run's glyphs, as hexadecimal strings with the kerning between them, to what is to be shown."""
    widths, known = font.widths, font.to_unicode
    string = "<"
    for index, (glyph, width, _, _, _) in enumerate(glyphs):
        if glyph not in known:
            known[glyph] = _read_cluster(layout, item, index, len(glyphs))
        string += f"{glyph:04x}"
        if glyph in widths:
            logical = widths[glyph]
        else:
            pango.pango_font_get_glyph_extents(
                item.item.analysis.font, glyph, stream.ink_rect, stream.logical_rect
            )
            logical = widths[glyph] = round(stream.logical_rect.width * 1000 * FROM_UNITS / size)
        kerning = logical - width * 1000 * FROM_UNITS / size
        if kerning:
            string += f">{int(kerning)}<"
    written.append(string[:-1] if string[-1] == "<" else string + ">")


def _read_cluster(layout: Any, item: Any, index: int, count: int) -> str:
    """The characters that a glyph stands for."""
    clusters, offset, length = item.glyphs.log_clusters, item.item.offset, item.item.length
    start = clusters[index]
    if item.item.analysis.level % 2:
        end = length if index == 0 else clusters[index - 1]
    else:
        end = length if index == count - 1 else clusters[index + 1]
    text: str = layout.text
    return text.encode()[offset + start : offset + end].decode()


SHORTCUTS: Final = [
    (Layout, "setup", setup),
    (Layout, "set_text", set_text),
    (Layout, "deactivate", deactivate),
    (line_break, "line_size", line_size),
    (line_break, "strut", strut),
    (drawing, "draw_first_line", draw_first_line),
]
