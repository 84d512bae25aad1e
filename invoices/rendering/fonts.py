"""The fonts that a document may use, and the characters that they can print."""

from __future__ import annotations

import ctypes.util
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from fontTools.ttLib import TTFont

FONTS_DIR: Final = Path(__file__).parent.parent / "fonts"

#: Printed for a character that no font has (emoji, rare scripts): visible, and never WeasyPrint's `.notdef`.
REPLACEMENT: Final = "\u25a1"

#: Not printed, so in no font: what stands between the elements of a document.
_BREAKS: Final = frozenset("\n\r\t")


@dataclass(frozen=True, slots=True)
class FontFile:
    """One static font file, as `@font-face` declares it."""

    family: str
    weight: int
    path: Path
    package: str = ""

    @property
    def url_path(self) -> str:
        return f"fonts/{self.path.name}"


OWN_FONTS: Final = (
    FontFile("Invoice Sans", 400, FONTS_DIR / "Inter-Regular.ttf"),
    FontFile("Invoice Sans", 600, FONTS_DIR / "Inter-SemiBold.ttf"),
    FontFile("Invoice Sans", 700, FONTS_DIR / "Inter-Bold.ttf"),
)
_SYSTEM: Final = Path("/usr/share/fonts/truetype")
_JAPANESE: Final = "fonts-morisawa-bizud-gothic"
_KOREAN: Final = "fonts-nanum"
SYSTEM_FONTS: Final = (
    FontFile("Invoice Japanese", 400, _SYSTEM / "bizud-gothic/BIZUDPGothic-Regular.ttf", _JAPANESE),
    FontFile("Invoice Japanese", 700, _SYSTEM / "bizud-gothic/BIZUDPGothic-Bold.ttf", _JAPANESE),
    FontFile("Invoice Han", 400, _SYSTEM / "droid/DroidSansFallbackFull.ttf", "fonts-droid-fallback"),
    FontFile("Invoice Korean", 400, _SYSTEM / "nanum/NanumGothic.ttf", _KOREAN),
    FontFile("Invoice Korean", 700, _SYSTEM / "nanum/NanumGothicBold.ttf", _KOREAN),
)


def find_missing_fonts() -> list[FontFile]:
    return [font for font in (*OWN_FONTS, *SYSTEM_FONTS) if not font.path.is_file()]


def find_fonts() -> list[FontFile]:
    """The fonts that are there, in the order in which they are tried."""
    return [font for font in (*OWN_FONTS, *SYSTEM_FONTS) if font.path.is_file()]


def list_families() -> str:
    """The families of all fonts that are there, in the order in which they are tried, as an SVG names them."""
    return ", ".join(dict.fromkeys(font.family for font in find_fonts()))


@cache
def get_coverage(*, with_system: bool = True) -> frozenset[int]:
    """Every code point that the project's own fonts can print, or those and the system's. Read once a process."""
    covered: set[int] = set()
    for font in find_fonts() if with_system else OWN_FONTS:
        with TTFont(font.path, lazy=True) as file:
            covered.update(file.getBestCmap())
    return frozenset(covered)


def is_own_text(text: str) -> bool:
    """Whether the project's own fonts can print all of it: the system's, for other scripts, need not be loaded."""
    if text.isascii():
        return True
    own = get_coverage(with_system=False)
    return all(ord(character) in own for character in set(text) - _BREAKS)


def make_printable(text: str) -> str:
    """The text with a box for each character that no font has; combining marks without a glyph are dropped."""
    if is_own_text(text):
        return text
    coverage = get_coverage()
    return "".join(character if ord(character) in coverage else _replace(character) for character in text)


def _replace(character: str) -> str:
    if character in "\u202f\u2009":
        return "\u00a0"
    return "" if 0xFE00 <= ord(character) <= 0xFE0F else REPLACEMENT


def has_subset_library() -> bool:
    """Whether HarfBuzz's subsetter is installed; without it WeasyPrint takes 3.5 times as long, silently."""
    return ctypes.util.find_library("harfbuzz-subset") is not None
