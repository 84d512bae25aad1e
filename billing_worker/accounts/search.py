"""Search in the console: whatever the case of what was typed, whatever the database, however long the list.

Our columns compare byte by byte on MySQL (Stripe's ids differ in case alone), which would make Django's `icontains`
exact there. So both sides are lowered by the database.

Looking into every row is fine where there are thousands. Documents, mails and events are more, and wide: there what was
typed is looked up in the accounts first, and in this table by indexes alone.
"""

from __future__ import annotations

from functools import reduce
from operator import or_
from typing import Any, Final

from django.contrib.admin.utils import get_fields_from_path
from django.db.models import CharField, ForeignKey, Model, Q, QuerySet, TextField, Value
from django.db.models.functions import Lower
from django.http import HttpRequest

from billing_worker.accounts.models import Account

#: So many keys are handed to the next statement as they are: with them MariaDB walks the newest rows until a page is
#: full, where it would join and sort everything. Of more it has to make that join.
MAX_KEYS: Final = 10_000
#: A list that is longer MariaDB takes for a table, and joins it (`in_predicate_conversion_threshold`).
PART: Final = 999
#: One character begins thousands of keys.
SHORTEST_KEY: Final = 2
#: More than a key can have.
DIGITS_OF_A_KEY: Final = 19
_NOTHING: Final = Q(pk__in=[])


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
        for word in search_term.split():
            queryset = queryset.filter(self.match_word(request, word))
        return queryset, False

    def match_word(self, request: HttpRequest, word: str) -> Q:
        """What a row must fulfil for one of the words that were typed."""
        fields: list[str] = list(self.get_search_fields(request))  # type: ignore[attr-defined]
        return reduce(or_, [self._match(name, word) for name in fields])

    def _match(self, name: str, word: str) -> Q:
        if name.startswith("="):
            return Q(**{f"{name[1:]}__iexact": word})
        if isinstance(get_fields_from_path(self.model, name)[-1], CharField | TextField):
            return Q(**{f"{name}__lower__contains": Lower(Value(word))})
        return Q(**{f"{name}__icontains": word})


class IndexedSearch(FoldedSearch):
    """For a `ModelAdmin` of a big table: no search reads all of it.

    Each word is the beginning of one of `search_fields` (all of it, with `=` in front), which have an index each, of
    this table or of one that it refers to; or it is found in an account: its number, Stripe customer, or a part of its
    name or e-mail addresses.
    `search_account` is the way from a row to its account, or to its customer's id at Stripe where that is all it has.

    What finds nothing by itself is left out of the condition: a database uses several indexes at once only while each
    of them helps.
    """

    search_account = "account"

    def match_word(self, request: HttpRequest, word: str) -> Q:
        """The keys that begin with the word, and the rows of the accounts that it names."""
        fields: list[str] = list(self.get_search_fields(request))  # type: ignore[attr-defined]
        matches = [self._match_key(name, word) for name in fields]
        matches.append(self._match_account(word))
        return reduce(or_, [match for match in matches if match is not None], _NOTHING)

    def _match_key(self, name: str, word: str) -> Q | None:
        if len(word) < SHORTEST_KEY:
            return None
        relation, _, column = name.lstrip("=").rpartition("__")
        fits = Q(**{column: word}) if name.startswith("=") else _begin(column, word)
        if not relation:
            return fits if self.model._default_manager.filter(fits).exists() else None
        *_, reference = get_fields_from_path(self.model, relation)
        assert isinstance(reference, ForeignKey)
        rows = reference.related_model._default_manager.filter(fits)
        return _refer(relation, rows.values_list("pk", flat=True))

    def _match_account(self, word: str) -> Q | None:
        accounts = find_accounts(word)
        if isinstance(get_fields_from_path(self.model, self.search_account)[-1], ForeignKey):
            return _refer(self.search_account, accounts.values_list("pk", flat=True))
        customers = accounts.exclude(stripe_customer_id=None).values_list("stripe_customer_id", flat=True)
        return _refer(self.search_account, customers)


def find_accounts(word: str) -> QuerySet[Account]:
    """Accounts that a word may mean: by their number, Stripe customer, or a part of their name or addresses.

    Digits alone are no part of an address: every other one has some.
    """
    inside = Lower(Value(word))
    meant = Q(name__lower__contains=inside) | Q(stripe_customer_id=word)
    if not word.isdecimal():
        meant |= Q(billing_email__lower__contains=inside) | Q(billing_cc__lower__contains=inside)
    elif len(word) < DIGITS_OF_A_KEY:
        meant |= Q(pk=int(word))
    return Account.objects.filter(meant).order_by()


def _begin(column: str, word: str) -> Q:
    """The column begins with the word as typed, in capitals or in small letters: bytes are compared, by an index."""
    forms = sorted({word, word.upper(), word.lower()})
    return reduce(or_, [Q(**{f"{column}__istartswith": form}) for form in forms])


def _refer(relation: str, keys: QuerySet[Any, Any]) -> Q | None:
    """Rows that refer to one of the keys, or None if there are no keys."""
    listed = list(keys[: MAX_KEYS + 1])
    if not listed:
        return None
    if len(listed) > MAX_KEYS:
        return Q(**{f"{relation}__in": keys})
    parts = [listed[start : start + PART] for start in range(0, len(listed), PART)]
    return reduce(or_, [Q(**{f"{relation}__in": part}) for part in parts])
