"""Drafts are held until the usage of their month is complete and sent, then released by us."""
