"""Search in the console that does not care about upper and lower case, whatever the database.

Our columns compare byte by byte on MySQL (Stripe's ids differ in case alone), which would make Django's `icontains`
exact there. So both sides are lowered by the database.
"""

from __future__ import annotations

from functools import reduce
from operator import or_
from typing import Any

from django.contrib.admin.utils import get_fields_from_path
from django.db.models import CharField, Model, Q, QuerySet, TextField, Value
from django.db.models.functions import Lower
from django.http import HttpRequest


def register_lower() -> None:
    """Make `field__lower__contains` available; called once when the apps are ready."""
    CharField.register_lookup(Lower)
    TextField.register_lookup(Lower)


class FoldedSearch:
    """For a `ModelAdmin` with plain names in `search_fields`: every word must occur in one of them.

    A name with `=` in front, as Django knows it, must be the whole word.
    """

    model: type[Model]

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        fields: list[str] = list(self.get_search_fields(request))  # type: ignore[attr-defined]
        for word in search_term.split():
            queryset = queryset.filter(reduce(or_, [self._match(name, word) for name in fields]))
        return queryset, False

    def _match(self, name: str, word: str) -> Q:
        if name.startswith("="):
            return Q(**{f"{name[1:]}__iexact": word})
        if isinstance(get_fields_from_path(self.model, name)[-1], CharField | TextField):
            return Q(**{f"{name}__lower__contains": Lower(Value(word))})
        return Q(**{f"{name}__icontains": word})
