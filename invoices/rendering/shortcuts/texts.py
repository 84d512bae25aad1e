"""Texts: Pango shapes a text once, and its objects are kept, because the same few fonts and sizes print everything.

WeasyPrint shapes every text when it lays it out, throws the glyphs away, and shapes it again when it draws it. Here the
glyphs of a text that stands on one line are kept with it, and those of short texts for the next document too: the
template's own words are on every invoice.
"""

from __future__ import annotations

from typing import Any, Final

from weasyprint.css import Style
from weasyprint.svg.text import Style as SvgStyle
from weasyprint.text import line_break
from weasyprint.text.constants import LST_TO_ISO, PANGO_DIRECTION
from weasyprint.text.ffi import FROM_UNITS, ffi, gobject, pango
from weasyprint.text.fonts import font_features, get_font_description
from weasyprint.text.line_break import Layout

from invoices.rendering.shortcuts import glyphs

_setup: Final = Layout.setup
_set_text: Final = Layout.set_text
_deactivate: Final = Layout.deactivate
_strut: Final = line_break.strut
_reactivate: Final = Layout.reactivate
_split_first_line: Final = line_break.split_first_line

_RECTANGLE: Final = ffi.new("PangoRectangle *")
#: How long a text may be to be kept for other documents, and how many are kept of each font and size.
_SHORT: Final = 40
_MANY: Final = 256


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
        self.lines: dict[str, tuple[Any, ...]] = {}

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
        isinstance(style, Style | SvgStyle)
        and style["text_decoration_line"] == "none"
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
    shelf = None if self.justification_spacing else find_shelf(style)
    self.shelf = shelf
    self.line = None
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
    """`Layout.deactivate`: the layout goes back to the shelf. What has glyphs to draw was never taken from it."""
    if "layout" not in self.__dict__:
        return
    if self.shelf is not None:
        self.shelf.put_back(self.layout)
    _deactivate(self)


def reactivate(self: Any, style: Any) -> None:
    """`Layout.reactivate`, if there are no glyphs to draw without it."""
    if self.line is None:
        _reactivate(self, style)


def first_line_metrics(
    first_line: Any,
    text: str,
    layout: Any,
    resume_at: int | None,
    space_collapse: bool,
    style: Any,
    hyphenated: bool = False,
    hyphenation_character: str | None = None,
) -> tuple[Any, ...]:
    """`first_line_metrics`, which keeps the glyphs of the line."""
    length = first_line.length
    if hyphenated:
        assert hyphenation_character is not None
        length -= len(hyphenation_character.encode())
    elif resume_at:
        # Drawn without a width, so measured without one.
        pango.pango_layout_set_width(layout.layout, -1)
        first_text = text.encode()[:length].decode()
        layout.set_text(first_text.rstrip(" ") if space_collapse else first_text)
        first_line, _ = layout.get_first_line()
        length = first_line.length if first_line is not None else 0
    width, height = line_size(first_line, style)
    baseline = pango.pango_layout_get_baseline(layout.layout) * FROM_UNITS
    if layout.shelf is not None:
        layout.line = glyphs.read_line(style.font_config, layout, first_line)
    layout.deactivate()
    return layout, length, resume_at, width, height, baseline


def split_first_line(
    text: str,
    style: Any,
    context: Any,
    max_width: float | None,
    justification_spacing: float,
    is_line_start: bool = True,
    minimum: bool = False,
) -> tuple[Any, ...]:
    """`split_first_line`, from memory for a short text that fits on its line as it did before."""
    shelf = None if justification_spacing or len(text) > _SHORT else find_shelf(style)
    if shelf is None:
        return _split_first_line(  # type: ignore[no-any-return]
            text, style, context, max_width, justification_spacing, is_line_start, minimum
        )
    known = shelf.lines.get(text)
    if known is not None:
        width = known[3]
        if max_width is None or width <= max_width or style["white_space"] in ("nowrap", "pre"):
            layout = Layout.__new__(Layout)
            layout.__dict__.update(known[0].__dict__)
            layout.max_width = max_width
            return layout, *known[1:]
    found: tuple[Any, ...] = _split_first_line(
        text, style, context, max_width, justification_spacing, is_line_start, minimum
    )
    layout, _, resume_at = found[:3]
    if resume_at is None and layout.line is not None and layout.text == text:
        if len(shelf.lines) >= _MANY:
            shelf.lines.clear()
        shelf.lines[text] = found
    return found


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


SHORTCUTS: Final = [
    (Layout, "setup", setup),
    (Layout, "set_text", set_text),
    (Layout, "deactivate", deactivate),
    (Layout, "reactivate", reactivate),
    (line_break, "first_line_metrics", first_line_metrics),
    (line_break, "split_first_line", split_first_line),
    (line_break, "line_size", line_size),
    (line_break, "strut", strut),
]
