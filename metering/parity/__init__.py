"""Parity: our quantities against the other side's, account by account, over the same window."""
