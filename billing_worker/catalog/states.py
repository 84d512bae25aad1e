"""The kinds of things that are sold: one Stripe product each."""

from django.db.models import TextChoices


class PriceKind(TextChoices):
    SUB = "sub", "Flat fee"
    ST = "ST", "ST impressions"
    RM = "RM", "RM impressions"
    CV = "CV", "CV impressions"
    MANAGED = "managed", "Managed service"
