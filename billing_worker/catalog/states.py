"""The kinds of things that are sold: one Stripe product each."""

from typing import Final

from django.db.models import TextChoices

#: What prices and products of sampled meters have in place of a kind; their key is the event name.
SAMPLED: Final = "sampled"


class PriceKind(TextChoices):
    SUB = "sub", "Flat fee"
    ST = "ST", "ST impressions"
    RM = "RM", "RM impressions"
    CV = "CV", "CV impressions"
    MANAGED = "managed", "Managed service"
