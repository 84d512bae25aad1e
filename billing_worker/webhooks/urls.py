"""Stripe's way in."""

from django.urls import path

from billing_worker.webhooks.api import receive_stripe_webhook

urlpatterns = [path("webhook/stripe", receive_stripe_webhook, name="stripe-webhook")]
