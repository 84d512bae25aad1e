"""Meters that are integrals over time (GB-seconds): which exist, what they cost, and which tier an account is on."""
