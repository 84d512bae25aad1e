"""What has to change on a subscription so that it bills by the terms of its month. Pure.

Stripe bills licensed items in advance and metered ones in arrears, both at the turn of a month. So a fee has to be
right before the turn into its month, and a tier table from the turn on, once the usage of the month before is
invoiced: until then Stripe would rate that usage by the new table. https://docs.stripe.com/billing/subscriptions/usage-based
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class WantedItem:
    """A price that the subscription should have. `quantity`: None for metered ones; `account_ids`: whose fees."""

    price: str
    product: str
    quantity: int | None = None
    account_ids: str = ""


@dataclass(frozen=True, slots=True)
class HeldItem:
    """A subscription item as Stripe has it."""

    id: str
    price: str
    product: str | None
    quantity: int | None
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ItemChange:
    """One entry of an update: a new item (`id` empty), another price or quantity, or a removal."""

    id: str = ""
    price: str = ""
    quantity: int | None = None
    account_ids: str = ""
    is_removal: bool = False


def compute_licensed_changes(
    held: Sequence[HeldItem], wanted: Sequence[WantedItem]
) -> tuple[ItemChange, ...]:
    """Turn the licensed items into `wanted`: what has its price already is kept, what is left over changes its price.

    Items keep their identity where they can, because a subscription may never be without any.
    """
    ours = [item for item in held if item.quantity is not None]
    by_price = {item.price: item for item in wanted}
    changes = []
    for item in ours:
        target = by_price.get(item.price)
        if target is not None and not _is_same(item, target):
            changes.append(ItemChange(item.id, "", target.quantity, target.account_ids))
    spare = [item for item in ours if item.price not in by_price]
    taken = {item.price for item in ours}
    for target in (item for item in wanted if item.price not in taken):
        id = spare.pop(0).id if spare else ""
        changes.append(ItemChange(id, target.price, target.quantity, target.account_ids))
    return (*changes, *(ItemChange(item.id, is_removal=True) for item in spare))


def compute_metered_changes(held: Sequence[HeldItem], wanted: Sequence[WantedItem]) -> tuple[ItemChange, ...]:
    """Turn the metered items into `wanted`, one for each product: the item stays and its price is exchanged.

    Stripe rates the whole period of an item by the price that it has when the period is invoiced.
    """
    ours = {item.product: item for item in held if item.quantity is None}
    changes = []
    for target in wanted:
        item = ours.pop(target.product, None)
        if item is None:
            changes.append(ItemChange("", target.price))
        elif item.price != target.price:
            changes.append(ItemChange(item.id, target.price))
    return (*changes, *(ItemChange(item.id, is_removal=True) for item in ours.values()))


def compute_early_additions(
    held: Sequence[HeldItem], wanted: Sequence[WantedItem], *, used_products: frozenset[str]
) -> tuple[ItemChange, ...]:
    """Metered items that come with the next month and can be added before it, as nothing was used of them so far.

    Stripe does not bill what was used before an item was added, so after the turn is too late for the first hours.
    """
    products = {item.product for item in held if item.quantity is None} | used_products
    return tuple(ItemChange("", item.price) for item in wanted if item.product not in products)


def leaves_nothing(held: Sequence[HeldItem], changes: Sequence[ItemChange]) -> bool:
    """Whether these changes would take the last item away, which Stripe refuses."""
    removed = {change.id for change in changes if change.is_removal}
    return not any(item.id not in removed for item in held) and all(change.id for change in changes)


def _is_same(item: HeldItem, target: WantedItem) -> bool:
    return (
        item.quantity == target.quantity
        and item.metadata.get("account_ids", target.account_ids) == target.account_ids
    )
