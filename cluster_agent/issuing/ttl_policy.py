"""The policy for the TTL of replica certificates."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta

from cluster_agent.errors import BadRequest


@dataclass(frozen=True)
class TtlPolicy:
    """The default TTL, and the shortest that a replica may ask for."""

    default: timedelta
    minimum: timedelta

    def of(self, registered_seconds: int | None) -> TtlPolicy:
        """The policy for an application whose registration states that TTL, or none of its own."""
        if registered_seconds is None:
            return self
        return replace(self, default=timedelta(seconds=registered_seconds))

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
