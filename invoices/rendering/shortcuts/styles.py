"""Styles: what a rule makes of an element is computed once per style sheet and kept, not once per document.

WeasyPrint shares computed styles between the elements of a document that have like parents and like rules. Here they
are shared between documents too: the style sheets are the same objects for all of them.
"""

from __future__ import annotations

from math import inf
from typing import Any, Final
from xml.etree import ElementTree

from weasyprint import css
from weasyprint.css import (
    ComputedStyle,
    InitialStyle,
    StyleFor,
    declaration_precedence,
    find_style_attributes,
    preprocess_declarations,
)

#: Of how many lists of style sheets the styles are kept: template versions times paper sizes times fonts.
_LISTS: Final = 12


class Memory:
    """Computed styles under one list of style sheets and one configuration of fonts, which it keeps alive."""

    def __init__(self, sheets: Any, font_config: Any) -> None:
        self.kept = (sheets, font_config)
        self.page_sizes: dict[str, Any] = {"box": None, "area": None}
        self.initial = InitialStyle(font_config)
        self.elements: dict[Any, Any] = {}
        self.pages: dict[Any, Any] = {}


_memories: Final[dict[Any, Memory]] = {}


def recall(sheets: list[Any], font_config: Any) -> Memory:
    """The memory of these style sheets; of more than a few the oldest is forgotten."""
    key = (tuple(id(sheet) for sheet, _, _ in sheets), id(font_config))
    if key not in _memories:
        while len(_memories) >= _LISTS:
            del _memories[next(iter(_memories))]
        _memories[key] = Memory(sheets, font_config)
    return _memories[key]


class RememberedStyles(StyleFor):
    """`StyleFor` for documents without `style` and `id` attributes, whose rules style no pseudo-elements.

    For any other document it does what the original does.
    """

    def __init__(
        self, html: Any, sheets: Any, presentational_hints: Any, font_config: Any, target_collector: Any
    ) -> None:
        self._memory: Memory | None = None
        memory = None if presentational_hints else recall(sheets, font_config)
        if memory is None or not self._style_elements(html, sheets, font_config, memory):
            super().__init__(html, sheets, presentational_hints, font_config, target_collector)
            return
        self._memory = memory

    def _style_elements(self, html: Any, sheets: Any, font_config: Any, memory: Memory) -> bool:
        self._cascaded_styles: dict[Any, Any] = {}
        computed: dict[Any, Any] = {}
        self._computed_styles = computed
        self.initial_page_sizes = memory.page_sizes
        self._sheets = sheets
        self.font_config = font_config
        remembered = memory.elements
        root = html.etree_element
        for element in html.wrapper_element.iter_subtree():
            node = element.etree_element
            if "style" in node.attrib or "id" in node.attrib or (node.tag == "a" and "name" in node.attrib):
                # WeasyPrint makes a style of these that belongs to this document.
                return False
            language = node.get("lang")
            parent = computed[element.parent.etree_element, None] if element.parent else None
            rules = [
                (sheet, origin, sheet_specificity, rule)
                for sheet, origin, sheet_specificity in sheets
                for rule in sheet.matcher.match(element)
            ]
            # Declarations are lists of a style sheet, which the memory keeps alive; so are the parents.
            key = (id(parent), language, *[id(rule[3][0]) for _, _, _, rule in rules])
            style = remembered.get(key)
            if style is None:
                if any(pseudo for _, _, _, (_, _, pseudo, _) in rules):
                    return False
                cascaded = _cascade(rules, _read_language(language, html.base_url))
                root_style = computed[root, None] if parent is not None else memory.initial
                style = ComputedStyle(
                    parent, cascaded, None, root_style, html.base_url, font_config, memory.page_sizes
                )
                if style["anchor"] or (node.tag in ("html", "body") and style["overflow"] != "visible"):
                    # Anchors are collected by document, and a document moves its overflow to its pages.
                    return False
                remembered[key] = style
            computed[node, None] = style
        return True

    def set_computed_styles(
        self,
        element: Any,
        parent: Any,
        root: Any = None,
        pseudo_type: Any = None,
        base_url: Any = None,
        target_collector: Any = None,
    ) -> None:
        """The style of a page or a margin box, from memory if the same rules made one before."""
        if self._memory is None:
            super().set_computed_styles(element, parent, root, pseudo_type, base_url, target_collector)
            return
        cascaded = self._cascaded_styles.get((element, pseudo_type), {})
        parent_style = self._computed_styles[parent, None]
        key = (
            id(parent_style),
            pseudo_type,
            *[(name, id(value)) for name, (value, _) in cascaded.items()],
        )
        pages = self._memory.pages
        if key not in pages:
            super().set_computed_styles(element, parent, root, pseudo_type, base_url, target_collector)
            pages[key] = self._computed_styles[element, pseudo_type]
        self._computed_styles[element, pseudo_type] = pages[key]


def _read_language(language: str | None, base_url: str) -> dict[str, Any]:
    """The declarations that WeasyPrint makes of a `lang` attribute."""
    cascaded: dict[str, Any] = {}
    if language:
        element = ElementTree.Element("html", {"lang": language})
        for specificity, _, declarations, _ in find_style_attributes(element, False, base_url):
            for name, values, importance in preprocess_declarations(base_url, declarations):
                cascaded[name] = values, (declaration_precedence("author", importance), inf, specificity)
    return cascaded


def _cascade(rules: list[Any], cascaded: dict[str, Any]) -> dict[str, Any]:
    """The declarations that win over those before them, as `StyleFor` finds them."""
    for sheet, origin, sheet_specificity, (specificity, _, _, (declarations, layer)) in rules:
        layer_order = inf if layer is None else sheet.layers.index(layer)
        for name, values, importance in declarations:
            weight = (
                declaration_precedence(origin, importance),
                layer_order,
                sheet_specificity or specificity,
            )
            old = cascaded.get(name, (None, None))[1]
            if old is None or old <= weight:
                cascaded[name] = values, weight
    return cascaded


SHORTCUTS: Final = [(css, "StyleFor", RememberedStyles)]
