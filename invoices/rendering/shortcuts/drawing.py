"""Drawing: rules under table cells, which are most of the borders of an invoice."""

from __future__ import annotations

from typing import Any, Final

from weasyprint.draw import border
from weasyprint.draw.color import get_color

_draw_border: Final = border.draw_border
_set_mask_border: Final = border.set_mask_border

_SIDES: Final = ("top", "right", "bottom", "left")


def set_mask_border(stream: Any, box: Any) -> None:
    """`set_mask_border`, which nothing of ours has."""
    if box.style["mask_border_source"][0] != "none":
        _set_mask_border(stream, box)


def draw_border(stream: Any, box: Any) -> None:
    """`draw_border`: nothing where there is none, and a short way for a solid rule at the bottom alone."""
    style = box.style
    try:
        kind = style._border
    except AttributeError:
        kind = style._border = _find_kind(style)
    if kind == "none" and not (
        box.border_top_width or box.border_right_width or box.border_bottom_width or box.border_left_width
    ):
        return
    square = not (
        any(box.border_top_left_radius)
        or any(box.border_top_right_radius)
        or any(box.border_bottom_right_radius)
        or any(box.border_bottom_left_radius)
    )
    if kind != "bottom" or not square or not box.border_bottom_width:
        _draw_border(stream, box)
        return
    _draw_rule(stream, box, get_color(style, "border_bottom_color"))


def _find_kind(style: Any) -> str:
    """`none`, `bottom` (a solid rule there and nowhere else, square corners), or `other`."""
    plain = (
        style["visibility"] == "visible"
        and style["border_image_source"][0] == "none"
        and style["column_width"] == "auto"
        and style["column_count"] == "auto"
        and style["border_collapse"] == "separate"
    )
    if not plain:
        return "other"
    wide = [side for side in _SIDES if style[f"border_{side}_width"]]
    if not wide:
        return "none"
    solid = style["border_bottom_style"] == "solid" and get_color(style, "border_bottom_color").alpha
    return "bottom" if wide == ["bottom"] and solid else "other"


def _draw_rule(stream: Any, box: Any, color: Any) -> None:
    """What `draw_border` writes for one side: its segment as a clip, then the padding box out of the border box."""
    x, y, width, height = box.border_box_x(), box.border_box_y(), box.border_width(), box.border_height()
    thick = box.border_bottom_width
    bottom = y + height
    with stream.artifact(), stream.stacked():
        stream.move_to(x + width, bottom)
        stream.line_to(x, bottom)
        stream.line_to(x + 0, bottom + -thick)
        stream.line_to(x + width + 0, bottom + -thick)
        stream.clip(even_odd=True)
        stream.end()
        stream.set_color(color)
        stream.rectangle(x, y, width, height - thick)
        stream.rectangle(x, y, width, height)
        stream.fill(even_odd=True)


SHORTCUTS: Final = [
    (border, "draw_border", draw_border),
    (border, "set_mask_border", set_mask_border),
]
