"""The states that accounts, jobs and leases can be in."""

from django.db.models import TextChoices


class AccountStatus(TextChoices):
    ACTIVE = "active", "Active"
    SUSPENDED = "suspended", "Suspended"  # pays the flat fee and no usage
    CLOSED = "closed", "Closed"


class Biller(TextChoices):
    LEGACY = "legacy", "Legacy"
    STRIPE = "stripe", "Stripe"


class JobStatus(TextChoices):
    OPEN = "open", "Open"
    DONE = "done", "Done"
    BILLED = "billed", "Billed"


class JobSource(TextChoices):
    LEGACY = "legacy", "The old service"
    REQUEST = "request", "A request over the API"


class InvoiceFormat(TextChoices):
    PDF = "pdf", "PDF"
    FACTURX = "facturx", "PDF/A-3 with Factur-X (ZUGFeRD) XML"
