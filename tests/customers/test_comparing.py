"""Whose a field is: the table of the rule."""

from __future__ import annotations

import pytest

from billing_worker.customers.comparing import (
    Held,
    HeldTaxId,
    Memory,
    compute_order,
    is_same_tax_id,
    judge,
)
from billing_worker.customers.states import Verdict

SAME, WRITE, THEIRS = Verdict.SAME, Verdict.WRITE, Verdict.THEIRS
KEPT, ALONE, REFUSED = Verdict.KEPT, Verdict.THEIRS_ALONE, Verdict.REFUSED
DE = {"type": "eu_vat", "value": "DE000000000"}
FR = {"type": "eu_vat", "value": "FR00000000000"}
EIN = {"type": "us_ein", "value": "12-3456789"}


def wrote(value: object, held: object = None) -> dict[str, object]:
    return {"written": {"name": [value, held if held is not None else value]}}


@pytest.mark.parametrize(
    ("want", "has", "memory", "verdict"),
    [
        ("A", "A", {}, SAME),
        ("A", "", {}, WRITE),
        ("A", "X", {}, THEIRS),
        ("", "X", {}, ALONE),
        ("B", "A", wrote("A"), WRITE),
        ("A", "X", wrote("A"), THEIRS),
        ("B", "X", wrote("A"), THEIRS),
        # Stripe can't empty a name or an e-mail: a person has to.
        ("", "A", wrote("A"), THEIRS),
        ("", "A", {**wrote("A"), "kept": {"name": ["", "A"]}}, KEPT),
        ("", "X", wrote("A"), ALONE),
        # Emptied at Stripe: stays so until the account has something new.
        ("A", "", wrote("A"), THEIRS),
        ("B", "", wrote("A"), WRITE),
        # Filled in at Stripe where the account had nothing.
        ("", "X", wrote(""), ALONE),
        ("A", "X", wrote(""), THEIRS),
        # The answer to "B" got lost, and the account moved on.
        ("C", "B", {**wrote("A"), "asked": {"name": "B"}}, WRITE),
        ("B", "A", {**wrote("A"), "asked": {"name": "B"}}, WRITE),
        ("C", "X", {**wrote("A"), "asked": {"name": "B"}}, THEIRS),
        # Stripe keeps " A" as "A": that is what we wrote.
        (" A", "A", wrote(" A", "A"), SAME),
        ("B", "A", wrote(" A", "A"), WRITE),
        (" A", "X", wrote(" A", "A"), THEIRS),
        # A person let Stripe's stand, until either side changes.
        ("A", "X", {**wrote("A"), "kept": {"name": ["A", "X"]}}, KEPT),
        ("B", "X", {**wrote("A"), "kept": {"name": ["A", "X"]}}, THEIRS),
        ("A", "Y", {**wrote("A"), "kept": {"name": ["A", "X"]}}, THEIRS),
        ("B", "A", {**wrote("A"), "refused": {"name": {"value": "B", "reason": "?"}}}, REFUSED),
        ("C", "A", {**wrote("A"), "refused": {"name": {"value": "B", "reason": "?"}}}, WRITE),
    ],
)
def test_a_text_field(want, has, memory, verdict):
    assert judge("name", want, has, Memory(**memory)) is verdict


def test_an_address_is_emptied_as_a_whole_if_it_was_ours():
    memory = Memory(written={"address": [{"city": "Bern"}, {"city": "Bern"}]})
    assert judge("address", {}, {"city": "Bern"}, memory) is WRITE
    assert judge("address", {}, {"city": "Thun"}, memory) is ALONE


def test_what_a_person_decided_for_is_written_but_nothing_is_ever_emptied_so():
    memory = Memory(written={"name": ["A", "A"]}, kept={"name": ["A", "X"]})
    assert judge("name", "A", "X", memory, is_forced=True) is WRITE
    assert judge("name", "", "X", memory, is_forced=True) is ALONE
    assert judge("name", "", "A", memory, is_forced=True) is THEIRS


def order_tax_ids(want, held, overwrite=(), **memory):
    values = {"name": "A", "email": "", "address": {}, "preferred_locales": ["en"]}
    stripe = Held(values=values, tax_ids=tuple(HeldTaxId(id=f"txi_{n}", **one) for n, one in enumerate(held)))
    order = compute_order({**values, "tax_id": want}, stripe, Memory(**memory), overwrite=overwrite)
    return order.verdicts["tax_id"], order.create, [one.id for one in order.delete]


def sent(value):
    return {"written": {"tax_id": [value, value]}}


@pytest.mark.parametrize(
    ("want", "held", "memory", "verdict", "create", "delete"),
    [
        (None, [], {}, SAME, None, []),
        (DE, [], {}, WRITE, DE, []),
        (DE, [DE], {}, SAME, None, []),
        (DE, [{**DE, "value": "de 000.000-000"}], {}, SAME, None, []),
        (DE, [{**DE, "type": "gb_vat"}], {}, WRITE, DE, []),
        # Another kind beside ours is somebody else's.
        (DE, [EIN], {}, WRITE, DE, []),
        (DE, [EIN, DE], {}, SAME, None, []),
        # Ours changes: the new one first, then the old one goes.
        (FR, [DE], sent(DE), WRITE, FR, ["txi_0"]),
        (FR, [EIN, DE, FR], sent(DE), WRITE, None, ["txi_1"]),
        (FR, [DE, FR], {**sent(FR), "leaving": [DE]}, WRITE, None, ["txi_0"]),
        # Asked for DE without an answer, and the account moved on to FR.
        (FR, [DE], {"asked": {"tax_id": DE}}, WRITE, FR, ["txi_0"]),
        (None, [DE], {"asked": {"tax_id": DE}}, WRITE, None, ["txi_0"]),
        # The same value twice must not stay.
        (DE, [DE, DE, EIN], {}, WRITE, None, ["txi_1"]),
        # Taken away here: ours goes, others stay.
        (None, [DE, EIN], sent(DE), WRITE, None, ["txi_0"]),
        (None, [EIN], sent(None), ALONE, None, []),
        # Exchanged or deleted at Stripe by a person: shown.
        (DE, [FR], sent(DE), THEIRS, None, []),
        (DE, [FR], {}, THEIRS, None, []),
        (DE, [], sent(DE), THEIRS, None, []),
        (DE, [EIN], sent(DE), THEIRS, None, []),
        (DE, [], {**sent(DE), "kept": {"tax_id": [DE, []]}}, KEPT, None, []),
        (DE, [FR], {"kept": {"tax_id": [DE, [FR]]}}, KEPT, None, []),
        # Deleted there, and the account has a new one: nothing is in its way.
        (FR, [], sent(DE), WRITE, FR, []),
        (DE, [], {**sent(DE), "asked": {"tax_id": DE}}, WRITE, DE, []),
        (DE, [], {"refused": {"tax_id": {"value": DE, "reason": "?"}}}, REFUSED, None, []),
        # What is refused replaces nothing.
        (FR, [DE], {**sent(DE), "refused": {"tax_id": {"value": FR, "reason": "?"}}}, REFUSED, None, []),
    ],
)
def test_tax_ids(want, held, memory, verdict, create, delete):
    assert order_tax_ids(want, held, **memory) == (verdict, create, delete)


def test_a_person_may_put_ours_in_the_place_of_another_of_its_kind():
    assert order_tax_ids(DE, [EIN, FR], overwrite=("tax_id",)) == (WRITE, DE, ["txi_1"])
    assert order_tax_ids(DE, [], overwrite=("tax_id",), **sent(DE)) == (WRITE, DE, [])


def test_tax_ids_are_compared_by_kind_letters_and_digits():
    assert is_same_tax_id(DE, {"type": "eu_vat", "value": "de 000 000 000"})
    assert not is_same_tax_id(DE, {"type": "gb_vat", "value": "DE000000000"})
    assert not is_same_tax_id(DE, None)
    assert is_same_tax_id(None, None)
