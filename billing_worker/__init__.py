"""The Django project and the ground floor of billing-worker."""

from billing_worker.celery import app as celery_app

__all__ = ["celery_app"]
