"""One step towards a customer that is in step: what we ask for is committed before, what became of it after.

A tax id is made before the one that it replaces is deleted, and every step begins with a fresh look. So a worker may
die between any two lines: the next look finds the new tax id by its value (and makes no second one), and the old one
by `leaving`.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from django.db import transaction

from billing_worker import gateway
from billing_worker.accounts.audit import record_audit
from billing_worker.customers.comparing import TAX_ID, describe_held, is_same_tax_id
from billing_worker.customers.models import CustomerSync
from billing_worker.customers.services.claims import Claim, keep_claim
from billing_worker.customers.services.outcome import Look
from billing_worker.customers.states import Verdict
from billing_worker.customers.wanted import build_address, describe_customer
from billing_worker.customers.wording import describe_value, name_field

#: What Stripe's `param` of a refusal about a tax id may be. Anything else is no word on the value.
_TAX_ID_PARAMS: Final = frozenset({"type", "value"})


def remember_look(row: CustomerSync, look: Look, *, now: datetime) -> dict[str, Any]:
    """What a look says about the past, as columns: what is equal is ours, what no longer holds is forgotten."""
    order = look.order
    same = [name for name, verdict in order.verdicts.items() if verdict is Verdict.SAME]
    # A tax id that is there counts as written while others are still to be deleted.
    is_there = any(is_same_tax_id(held.describe(), look.wanted[TAX_ID]) for held in look.held.tax_ids)
    if is_there and TAX_ID not in same:
        same.append(TAX_ID)
    written = dict(row.written)
    for name in same:
        theirs = look.wanted[TAX_ID] if name == TAX_ID else look.held.values[name]
        written[name] = [look.wanted[name], theirs]
    changes: dict[str, Any] = {
        "written": written,
        "asked": {name: value for name, value in row.asked.items() if name not in same},
        "kept": {name: pair for name, pair in row.kept.items() if order.verdicts[name] is Verdict.KEPT},
        "refused": {
            name: refusal
            for name, refusal in row.refused.items()
            if refusal["value"] == look.wanted[name] and name not in same
        },
        "leaving": _find_leaving(row, look, is_there=is_there),
        "found": look.describe_found(),
        "read_at": now,
    }
    if TAX_ID in same and TAX_ID in row.asked:
        changes["tax_id_number"] = row.tax_id_number + 1
    return changes


def _find_leaving(row: CustomerSync, look: Look, *, is_there: bool) -> list[dict[str, str]]:
    """Those of our earlier tax ids that are still at Stripe: also the one written before the wanted one came."""
    sent, _ = row.written.get(TAX_ID, (None, None))
    known = [*row.leaving, *([sent] if sent and is_there else [])]
    held = [
        tax_id.describe()
        for tax_id in look.held.tax_ids
        if not is_same_tax_id(tax_id.describe(), look.wanted[TAX_ID])
    ]
    return [one for one in held if any(is_same_tax_id(one, other) for other in known)]


def take_step(claim: Claim, row: CustomerSync, look: Look, *, number: int, actor: str, now: datetime) -> str:
    """Do the first thing that is to be done, and say what it was; empty if Stripe refused it.

    Raises:
        LostClaim: another worker has the customer now.
        GatewayError: no answer, or a refusal that names none of our fields.
    """
    if look.order.values or look.lacks_owner:
        return _write_values(claim, row, look, number=number, actor=actor, now=now)
    if look.order.create is not None:
        return _create_tax_id(claim, row, look, look.order.create, actor=actor, now=now)
    return _delete_tax_ids(claim, row, look, actor=actor, now=now)


def _write_values(
    claim: Claim, row: CustomerSync, look: Look, *, number: int, actor: str, now: datetime
) -> str:
    values = dict(look.order.values)
    keep_claim(claim, asked={**row.asked, **values})
    key = f"customer:{look.customer.id}:{claim.token}:{number}"
    try:
        answer = gateway.update_customer(
            look.customer.id,
            name=values.get("name"),
            email=values.get("email"),
            address=build_address(look.account) if "address" in values else None,
            preferred_locales=values.get("preferred_locales"),
            metadata={"account_id": str(look.account.pk)} if look.lacks_owner else None,
            idempotency_key=key,
        )
    except gateway.GatewayRejected as error:
        field = _find_field(error.param, values)
        if field is None:
            raise
        asked = {name: value for name, value in row.asked.items() if name not in values}
        keep_claim(claim, asked=asked, refused=_refuse(row, field, values[field], error))
        return ""
    if "address" in values and describe_customer(answer).values["address"].keys() - values["address"].keys():
        answer = _replace_address(look, key=key)
    held = describe_customer(answer).values
    written = {**row.written, **{name: [value, held[name]] for name, value in values.items()}}
    asked = {name: value for name, value in row.asked.items() if name not in values}
    before = {name: look.held.values[name] for name in values}
    owner = {"account_id": str(look.account.pk)} if look.lacks_owner else {}
    _keep_audited(
        claim,
        look,
        before=before,
        after={**values, **owner},
        actor=actor,
        now=now,
        written=written,
        asked=asked,
    )
    return "; ".join(
        f"{name_field(name)} {describe_value(value)} (was {describe_value(before[name])})"
        for name, value in values.items()
    )


def _replace_address(look: Look, *, key: str) -> gateway.Customer:
    """Lines can't be emptied one by one: where Stripe kept old ones, the address goes as a whole and comes again."""
    customer, address = look.customer.id, build_address(look.account)
    gateway.update_customer(customer, address=gateway.Address(), idempotency_key=f"{key}:unset")
    return gateway.update_customer(customer, address=address, idempotency_key=f"{key}:set")


def _create_tax_id(
    claim: Claim, row: CustomerSync, look: Look, tax_id: Mapping[str, str], *, actor: str, now: datetime
) -> str:
    wanted = dict(tax_id)
    leaving = [held.describe() for held in look.order.delete]
    keep_claim(claim, asked={**row.asked, TAX_ID: wanted}, leaving=leaving)
    key = f"tax-id:{look.customer.id}:{row.tax_id_number}:{wanted['type']}:{wanted['value']}"
    asked = {name: value for name, value in row.asked.items() if name != TAX_ID}
    try:
        answer = gateway.create_tax_id(
            look.customer.id, type=wanted["type"], value=wanted["value"], idempotency_key=key
        )
    except gateway.GatewayRejected as error:
        if error.stripe_code != "tax_id_invalid" and error.param not in _TAX_ID_PARAMS:
            raise
        keep_claim(
            claim, asked=asked, leaving=row.leaving, refused=_refuse(row, TAX_ID, wanted, error),
            tax_id_number=row.tax_id_number + 1,
        )  # fmt: skip
        return ""
    made = {"type": answer.type, "value": answer.value}
    _keep_audited(
        claim, look, before={TAX_ID: describe_held(look.held.tax_ids)}, after={TAX_ID: made}, actor=actor, now=now,
        written={**row.written, TAX_ID: [wanted, made]}, asked=asked, tax_id_number=row.tax_id_number + 1,
    )  # fmt: skip
    return f"{name_field(TAX_ID)} {describe_value(made)}"


def _delete_tax_ids(claim: Claim, row: CustomerSync, look: Look, *, actor: str, now: datetime) -> str:
    gone = look.order.delete
    for held in gone:
        keep_claim(claim, leaving=[*row.leaving, *(one.describe() for one in gone)])
        try:
            gateway.delete_tax_id(look.customer.id, held.id)
        except gateway.GatewayNotFound:
            continue
    written = dict(row.written)
    if look.wanted[TAX_ID] is None:
        written[TAX_ID] = [None, None]
    _keep_audited(
        claim, look, before={TAX_ID: describe_held(look.held.tax_ids)},
        after={TAX_ID: describe_held([held for held in look.held.tax_ids if held not in gone])},
        actor=actor, now=now, written=written,
    )  # fmt: skip
    return f"without tax id {', '.join(describe_value(held.describe()) for held in gone)}"


@transaction.atomic
def _keep_audited(
    claim: Claim,
    look: Look,
    *,
    before: Mapping[str, Any],
    after: Mapping[str, Any],
    actor: str,
    now: datetime,
    **changes: Any,
) -> None:
    keep_claim(claim, **changes)
    record_audit(
        actor=actor, action="customer.written", subject_type="account", subject_id=look.account.pk, at=now,
        reason="its customer at Stripe follows the account", before=dict(before), after=dict(after),
    )  # fmt: skip


def _refuse(row: CustomerSync, field: str, value: Any, error: gateway.GatewayRejected) -> dict[str, Any]:
    return {**row.refused, field: {"value": value, "reason": _shorten(str(error))}}


def _shorten(reason: str) -> str:
    """Stripe's own words, without ours in front."""
    return reason.partition(": ")[2][:300] if reason.startswith("Stripe, ") else reason[:300]


def _find_field(param: str | None, values: Mapping[str, Any]) -> str | None:
    """The field that a refusal names: `address[country]` is the address."""
    name = (param or "").partition("[")[0]
    return name if name in values else None
