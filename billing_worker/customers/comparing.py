"""Which side a customer's fields belong to. Pure.

The account is the source of five fields: name, e-mail, address, preferred locales and one tax id. We write one only
while Stripe has what we wrote last (or asked for, when the answer was lost), or has nothing. Anything else is
somebody's work at Stripe, in its dashboard or its portal: it is shown, and a person decides. Where the account has
nothing and never had, Stripe's value is Stripe's.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from billing_worker.customers.states import Verdict

#: The fields that the account is the source of, in the order that people read them. The tax id has rules of its own.
TEXT_FIELDS: Final = ("name", "email", "address", "preferred_locales")
TAX_ID: Final = "tax_id"
FIELDS: Final = (*TEXT_FIELDS, TAX_ID)

#: Stripe has no way to empty these, once they are filled.
NEVER_EMPTIED: Final = frozenset({"name", "email"})

Values = Mapping[str, Any]
TaxIdValue = Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """What happened before, by field.

    `written`: `[sent, held]`, what we last sent (or found equal) and what Stripe then had; `asked`: sent without an
    answer so far; `kept`: `[ours, theirs]`, the difference that a person let stand; `refused`: `{value, reason}`;
    `leaving`: tax ids of ours that a newer one takes the place of.
    """

    written: Values = field(default_factory=dict)
    asked: Values = field(default_factory=dict)
    kept: Values = field(default_factory=dict)
    refused: Values = field(default_factory=dict)
    leaving: Sequence[TaxIdValue] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldTaxId:
    """A tax id as Stripe has it."""

    id: str
    type: str
    value: str
    status: str = ""

    def describe(self) -> dict[str, str]:
        return {"type": self.type, "value": self.value}


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A customer as Stripe has it: `values` of the text fields, and its tax ids, oldest first."""

    values: Values
    tax_ids: tuple[HeldTaxId, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What is to be written now, and the verdict on every field. A tax id is made before `delete` takes others away."""

    verdicts: Mapping[str, Verdict]
    values: Values
    create: TaxIdValue | None
    delete: tuple[HeldTaxId, ...]

    @property
    def is_empty(self) -> bool:
        return not self.values and self.create is None and not self.delete

    def list(self, verdict: Verdict) -> tuple[str, ...]:
        return tuple(name for name, found in self.verdicts.items() if found is verdict)


def compute_order(want: Values, held: Held, memory: Memory, *, overwrite: Collection[str] = ()) -> Order:
    """What to write so that Stripe has `want`, by the rule above. `overwrite`: fields a person decided for ours."""
    verdicts = {
        name: judge(name, want[name], held.values[name], memory, is_forced=name in overwrite)
        for name in TEXT_FIELDS
    }
    verdict, create, delete = _judge_tax_id(want[TAX_ID], held.tax_ids, memory, is_forced=TAX_ID in overwrite)
    return Order(
        verdicts={**verdicts, TAX_ID: verdict},
        values={name: want[name] for name, found in verdicts.items() if found is Verdict.WRITE},
        create=create,
        delete=delete,
    )


def judge(name: str, want: Any, has: Any, memory: Memory, *, is_forced: bool = False) -> Verdict:
    """The verdict on a text field. Empty is empty text, list or mapping."""
    sent, held = memory.written.get(name, (None, None))
    is_known = name in memory.written
    if want == has or (is_known and (want, has) == (sent, held)):
        return Verdict.SAME
    if is_refused(name, want, memory):
        return Verdict.REFUSED
    is_ours = (is_known and has in (sent, held)) or (name in memory.asked and has == memory.asked[name])
    # Nothing is wiped where nothing is; but what we wrote and somebody emptied stays empty until we have something new.
    can_be_written = bool(want) or name not in NEVER_EMPTIED
    if can_be_written and (is_ours or (not has and want != sent)):
        return Verdict.WRITE
    if not want and not is_ours:
        return Verdict.THEIRS_ALONE
    if is_forced and can_be_written:
        return Verdict.WRITE
    return Verdict.KEPT if memory.kept.get(name) == [want, has] else Verdict.THEIRS


def is_refused(name: str, want: Any, memory: Memory) -> bool:
    """Whether Stripe refused exactly this value: it is not asked again for it until somebody says so."""
    return name in memory.refused and memory.refused[name]["value"] == want


def is_same_tax_id(one: TaxIdValue | None, other: TaxIdValue | None) -> bool:
    """Whether two tax ids are one: the same kind, and the same letters and digits."""
    if one is None or other is None:
        return one is other
    return one["type"] == other["type"] and _squeeze(one["value"]) == _squeeze(other["value"])


def _squeeze(value: str) -> str:
    return "".join(character for character in value if character.isalnum()).upper()


def describe_held(tax_ids: Sequence[HeldTaxId]) -> list[dict[str, str]]:
    """The tax ids as `Memory.kept` holds them: in one order, without ids."""
    return sorted((held.describe() for held in tax_ids), key=lambda held: (held["type"], held["value"]))


def _judge_tax_id(
    want: TaxIdValue | None, held: Sequence[HeldTaxId], memory: Memory, *, is_forced: bool
) -> tuple[Verdict, TaxIdValue | None, tuple[HeldTaxId, ...]]:
    """The verdict, the tax id to make, and those to delete once it is there."""
    matches = [one for one in held if is_same_tax_id(one.describe(), want)]
    ours = [one for one in held if one not in matches and is_our_tax_id(one, memory)]
    if matches:
        delete = (*matches[1:], *ours)
        return (Verdict.WRITE if delete else Verdict.SAME), None, delete
    if want is None:
        if ours:
            return Verdict.WRITE, None, tuple(ours)
        return (Verdict.THEIRS_ALONE if held else Verdict.SAME), None, ()
    if is_refused(TAX_ID, want, memory):
        return Verdict.REFUSED, None, ()
    rivals = [one for one in held if one.type == want["type"] and one not in ours]
    if not is_forced and (rivals or _was_taken_away(want, memory)):
        is_kept = memory.kept.get(TAX_ID) == [want, describe_held(held)]
        return (Verdict.KEPT if is_kept else Verdict.THEIRS), None, ()
    return Verdict.WRITE, want, (*ours, *rivals)


def is_our_tax_id(tax_id: HeldTaxId, memory: Memory) -> bool:
    """Whether we made it, asked for it, or were about to replace it."""
    sent, _ = memory.written.get(TAX_ID, (None, None))
    known = [sent, memory.asked.get(TAX_ID), *memory.leaving]
    return any(is_same_tax_id(tax_id.describe(), one) for one in known if one)


def _was_taken_away(want: TaxIdValue, memory: Memory) -> bool:
    """Whether the wanted tax id was at Stripe once and somebody deleted it there."""
    sent, _ = memory.written.get(TAX_ID, (None, None))
    return (
        sent is not None and is_same_tax_id(sent, want) and not is_same_tax_id(memory.asked.get(TAX_ID), want)
    )
