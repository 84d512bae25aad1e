"""The main job on this machine, end to end: `make demo` runs it, `make run` serves what it left.

A program on top of everything, imported by nothing. It goes through public interfaces only: management commands, HTTP
and webhooks. The one thing that it loads directly is the sample of the old service's database.
"""
