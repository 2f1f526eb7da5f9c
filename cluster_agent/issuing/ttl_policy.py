"""The policy for the TTL of replica certificates."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from cluster_agent.errors import BadRequest


@dataclass(frozen=True)
class TtlPolicy:
    """The default TTL, and the shortest that a replica may ask for."""

    default: timedelta
    minimum: timedelta

    def choose(self, asked_seconds: int | None) -> timedelta:
        """The TTL for a request. Asking may shorten the default, never lengthen it.

        Raises BadRequest for less than the minimum.
        """
        if asked_seconds is None:
            return self.default
        asked = timedelta(seconds=asked_seconds)
        if asked < self.minimum:
            raise BadRequest(
                "TtlTooShort",
                f"a TTL of {asked_seconds} s was asked for, "
                f"the least is {int(self.minimum.total_seconds())} s",
            )
        return min(asked, self.default)
