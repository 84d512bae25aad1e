"""Invoices as files: the month for finance, and the old service's history for the archive."""
