"""A stand-in for the in-house billing service that the company moves away from.

It is a program of its own (`python -m sandbox.legacy`): it fills a database with the old service's tables, bills a
month by the old rules and exports daily usage. It shares no code with the Django apps, so that the two
implementations of the billing rules check each other. `README.md` beside this file lists the awkward accounts.
"""
