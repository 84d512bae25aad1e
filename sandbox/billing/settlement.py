"""How an invoice's total meets the customer's balance, in minor units of one currency.

A customer's balance is negative when the customer has credit and positive when it owes
(https://docs.stripe.com/billing/customer/balance).
"""

from __future__ import annotations

from dataclasses import dataclass

from sandbox.billing.money import minimum_charge_minor


@dataclass(frozen=True, slots=True)
class Settlement:
    """What remains to be collected and where the balance ends; `too_small` when the rest was carried to the balance."""

    amount_due_minor: int
    starting_balance_minor: int
    ending_balance_minor: int
    too_small: bool

    @property
    def balance_change_minor(self) -> int:
        """The balance transaction's amount: positive uses up credit or leaves the customer owing."""
        return self.ending_balance_minor - self.starting_balance_minor


def settle(total_minor: int, balance_minor: int, currency: str) -> Settlement:
    """Apply the balance to a total.

    What is left is due if it reaches the currency's minimum charge. Less than that is carried as a debt to the next
    invoice; a rest below zero stays as credit.
    """
    rest = total_minor + balance_minor
    if rest >= minimum_charge_minor(currency):
        return Settlement(rest, balance_minor, 0, too_small=False)
    return Settlement(0, balance_minor, rest, too_small=rest > 0)
