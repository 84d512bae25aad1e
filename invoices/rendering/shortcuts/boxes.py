"""Boxes: what follows from a style alone is asked once of the style, not of every box that has it."""

from __future__ import annotations

from typing import Any, Final

from weasyprint.css.functions import check_math
from weasyprint.formatting_structure.boxes import Box, PageBox
from weasyprint.layout import background, percent
from weasyprint.layout.absolute import AbsolutePlaceholder

_resolve_percentages: Final = percent.resolve_percentages
_resolve_radii_percentages: Final = percent.resolve_radii_percentages
_is_in_normal_flow: Final = Box.is_in_normal_flow
_layout_box_backgrounds: Final = background.layout_box_backgrounds

_SIDES: Final = ("top", "right", "bottom", "left")
_LENGTHS: Final = (
    *(f"margin_{side}" for side in _SIDES),
    *(f"padding_{side}" for side in _SIDES),
    *("width", "min_width", "max_width", "height", "min_height", "max_height"),
)
_CORNERS: Final = ("top_left", "top_right", "bottom_right", "bottom_left")
_NO_RADII: Final = {f"border_{corner}_radius": (0, 0) for corner in _CORNERS}


class _Scratch:
    """Something to resolve lengths on, to see what comes out."""

    def __init__(self, style: Any) -> None:
        self.style = style


def resolve_percentages(box: Any, containing_block: Any) -> None:
    """`resolve_percentages`; a style without percentages gives all its boxes the same lengths, wherever they are."""
    try:
        lengths = box.style._lengths
    except AttributeError:
        lengths = box.style._lengths = _find_lengths(box.style)
    if lengths is None or isinstance(box, AbsolutePlaceholder):
        _resolve_percentages(box, containing_block)
    else:
        box.__dict__.update(lengths)


def _find_lengths(style: Any) -> dict[str, Any] | None:
    """The lengths that every box of a style has, or nothing if they depend on the box around it."""
    if style["border_collapse"] == "collapse" or any(_is_relative(style[name]) for name in _LENGTHS):
        return None
    scratch = _Scratch(style)
    _resolve_percentages(scratch, (0, 0))
    del scratch.style
    return dict(scratch.__dict__)


def _is_relative(value: Any) -> bool:
    return value is not None and value != "auto" and (check_math(value) or value.unit != "px")


def resolve_radii_percentages(box: Any) -> None:
    """`resolve_radii_percentages` for the corners of most boxes, which are square."""
    style = box.style
    try:
        square = style._square
    except AttributeError:
        square = style._square = all((0, "px") in style[name] for name in _NO_RADII)
    if square and not isinstance(box, AbsolutePlaceholder):
        box.__dict__.update(_NO_RADII)
    else:
        _resolve_radii_percentages(box)


def is_in_normal_flow(self: Any) -> bool:
    """`Box.is_in_normal_flow`, asked once of a style that says `static` and no float."""
    style = self.style
    try:
        return style._flows or bool(_is_in_normal_flow(self))
    except AttributeError:
        style._flows = style["float"] == "none" and style["position"] == "static"
        return bool(_is_in_normal_flow(self))


def layout_box_backgrounds(
    page: Any, box: Any, get_image_from_uri: Any, layout_children: bool = True, style: Any = None
) -> None:
    """`layout_box_backgrounds`, short for boxes without background, border image and mask."""
    own = box.style
    try:
        bare = own._bare
    except AttributeError:
        bare = own._bare = _is_bare(own)
    if not bare or style is not None or isinstance(box, PageBox | AbsolutePlaceholder):
        _layout_box_backgrounds(page, box, get_image_from_uri, layout_children, style)
        return
    resolve_radii_percentages(box)
    if layout_children:
        for child in box.all_children():
            background.layout_box_backgrounds(page, child, get_image_from_uri)
    box.background = None


def _is_bare(style: Any) -> bool:
    color = style["background_color"]
    if color == "currentcolor":
        color = style["color"]
    return (
        style["border_image_source"][0] == "none"
        and style["mask_border_source"][0] == "none"
        and style["visibility"] != "hidden"
        and color.alpha == 0
        and all(kind == "none" for kind, _ in style["background_image"])
        and not style["box_shadow"]
    )


SHORTCUTS: Final = [
    (percent, "resolve_percentages", resolve_percentages),
    (percent, "resolve_radii_percentages", resolve_radii_percentages),
    (Box, "is_in_normal_flow", is_in_normal_flow),
    (background, "layout_box_backgrounds", layout_box_backgrounds),
]
