"""A token bucket: what may be spent at once, and how fast it fills again.

https://en.wikipedia.org/wiki/Token_bucket
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class TokenBucket:
    """Contains `left` tokens at the time `at`, in seconds, and fills at `per_second` up to `burst`."""

    per_second: float
    burst: float
    left: float
    at: float

    @classmethod
    def full(cls, per_second: float, burst: float, now: float) -> TokenBucket:
        return cls(per_second, burst, burst, now)

    def take(self, now: float) -> float:
        """Takes a token if there is one. Returns the seconds until there is one, 0 when it was taken."""
        self.left, self.at = self._left(now), now
        if self.left < 1:
            return (1 - self.left) / self.per_second
        self.left -= 1
        return 0.0

    def is_full(self, now: float) -> bool:
        """Whether it can be forgotten: a new one would be the same."""
        return self._left(now) >= self.burst

    def _left(self, now: float) -> float:
        return min(self.burst, self.left + (now - self.at) * self.per_second)
