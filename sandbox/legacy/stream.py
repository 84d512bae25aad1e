"""Repeatable chance: one independent stream per seed and purpose, so that adding an account moves no other's numbers.

Only `getrandbits` is used, which gives the same bits on every Python version and platform.
"""

from __future__ import annotations

import random
import uuid
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


class Stream:
    """A source of repeatable numbers, named by the seed and what they are for."""

    def __init__(self, seed: int, *purpose: object) -> None:
        # Repeatable invented data, nothing secret.
        self._random = random.Random("/".join(str(part) for part in (seed, *purpose)))

    def below(self, limit: int) -> int:
        """A whole number from 0 to limit - 1."""
        return self._random.getrandbits(64) % limit

    def between(self, low: int, high: int) -> int:
        """A whole number from low to high, both included."""
        return low + self.below(high - low + 1)

    def pick(self, options: Sequence[T]) -> T:
        """One of the options."""
        return options[self.below(len(options))]

    def uuid(self) -> str:
        """A version 4 UUID in lower case with dashes."""
        return str(uuid.UUID(int=self._random.getrandbits(128), version=4))
