"""Stripe's test cards and what they do."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from sandbox.engine.errors import JsonObject, StripeError

EXPIRY_YEAR = 2040


@dataclass(frozen=True, slots=True)
class Decline:
    """Why a card refuses."""

    code: str
    message: str
    decline_code: str | None = None

    def error(self, extra: JsonObject | None = None) -> StripeError:
        """Return the 402 that Stripe answers with."""
        return StripeError(
            402, self.message, type="card_error", code=self.code, decline_code=self.decline_code, extra=extra
        )


@dataclass(frozen=True, slots=True)
class TestCard:
    """A test number under the names that tokens (``tok_``) and payment methods (``pm_card_``) give it."""

    number: str
    names: tuple[str, ...]
    brand: str = "visa"
    funding: str = "credit"
    country: str = "US"
    on_attach: Decline | None = None
    on_charge: Decline | None = None
    needs_authentication: bool = False

    @property
    def last4(self) -> str:
        return self.number[-4:]

    @property
    def fingerprint(self) -> str:
        return hashlib.blake2b(self.number.encode(), digest_size=8).hexdigest()


GENERIC = Decline("card_declined", "Your card was declined.", "generic_decline")
FUNDS = Decline("card_declined", "Your card has insufficient funds.", "insufficient_funds")
LOST = Decline("card_declined", "Your card was declined.", "lost_card")
STOLEN = Decline("card_declined", "Your card was declined.", "stolen_card")
EXPIRED = Decline("expired_card", "Your card has expired.", "expired_card")
CVC = Decline("incorrect_cvc", "Your card's security code is incorrect.", "incorrect_cvc")
PROCESSING = Decline(
    "processing_error",
    "An error occurred while processing your card. Try again in a little bit.",
    "processing_error",
)
AUTHENTICATION = Decline(
    "authentication_required",
    "Your card was declined. This transaction requires authentication.",
    "authentication_required",
)

CARDS = (
    TestCard("4242424242424242", ("visa",)),
    TestCard("4000056655665556", ("visa_debit",), funding="debit"),
    TestCard("5555555555554444", ("mastercard",), "mastercard"),
    TestCard("5200828282828210", ("mastercard_debit",), "mastercard", "debit"),
    TestCard("5105105105105100", ("mastercard_prepaid",), "mastercard", "prepaid"),
    TestCard("378282246310005", ("amex",), "amex"),
    TestCard("6011111111111117", ("discover",), "discover"),
    TestCard("3056930009020004", ("diners",), "diners"),
    TestCard("3566002020360505", ("jcb",), "jcb", country="JP"),
    TestCard("6200000000000005", ("unionpay",), "unionpay", country="CN"),
    TestCard("4000002760000016", ("de",), country="DE"),
    TestCard("4000003920000003", ("jp",), country="JP"),
    TestCard("4000008260000000", ("gb",), country="GB"),
    TestCard("4000000000000077", ("bypassPending",)),
    TestCard("4000000000000341", ("chargeCustomerFail",), on_charge=GENERIC),
    TestCard(
        "4000000000000002", ("visa_chargeDeclined", "chargeDeclined"), on_attach=GENERIC, on_charge=GENERIC
    ),
    TestCard(
        "4000000000009995",
        ("visa_chargeDeclinedInsufficientFunds", "chargeDeclinedInsufficientFunds"),
        on_attach=FUNDS,
        on_charge=FUNDS,
    ),
    TestCard(
        "4000000000009987",
        ("visa_chargeDeclinedLostCard", "chargeDeclinedLostCard"),
        on_attach=LOST,
        on_charge=LOST,
    ),
    TestCard(
        "4000000000009979",
        ("visa_chargeDeclinedStolenCard", "chargeDeclinedStolenCard"),
        on_attach=STOLEN,
        on_charge=STOLEN,
    ),
    TestCard("4000000000000069", ("chargeDeclinedExpiredCard",), on_attach=EXPIRED, on_charge=EXPIRED),
    TestCard("4000000000000127", ("chargeDeclinedIncorrectCvc",), on_attach=CVC, on_charge=CVC),
    TestCard(
        "4000000000000119", ("chargeDeclinedProcessingError",), on_attach=PROCESSING, on_charge=PROCESSING
    ),
    TestCard(
        "4000000000003220",
        ("threeDSecure2Required",),
        on_charge=AUTHENTICATION,
        needs_authentication=True,
    ),
    TestCard(
        "4000002760003184",
        ("authenticationRequired",),
        on_charge=AUTHENTICATION,
        needs_authentication=True,
    ),
)

_BY_NUMBER = {card.number: card for card in CARDS}
_BY_NAME = {name: card for card in CARDS for name in card.names}


def card_by_number(number: str) -> TestCard:
    """Return the test card of that number.

    Raises:
        StripeError: 402 ``incorrect_number`` for anything but a known test number.
    """
    found = _BY_NUMBER.get(number.replace(" ", "").replace("-", ""))
    if found is None:
        raise StripeError(
            402,
            "Your card was declined. Your request was in test mode, but used a non test card. For a list of valid "
            "test cards, visit: https://stripe.com/docs/testing.",
            type="card_error",
            code="card_declined",
            decline_code="test_mode_live_card",
            param="number",
        )
    return found


def card_by_token(token: str) -> TestCard | None:
    """Return the card of a test token such as ``tok_visa``."""
    return _BY_NAME.get(token.removeprefix("tok_")) if token.startswith("tok_") else None


def card_by_alias(alias: str) -> TestCard | None:
    """Return the card of a test payment method such as ``pm_card_visa``."""
    return _BY_NAME.get(alias.removeprefix("pm_card_")) if alias.startswith("pm_card_") else None


def card_of(instrument: JsonObject) -> TestCard:
    """Return the test card behind a stored payment method, card or token."""
    return _BY_NUMBER[instrument["_number"]]
