"""Usage that comes after its month was billed: proposed, decided by a person, and billed exactly once."""
