"""Stripe's own command line, installed here by ``npm ci`` from the lock file."""
