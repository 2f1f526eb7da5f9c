"""A pod's identity as it is served at one moment, and what serves it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from blessings import Blessing, Principal, Roots


@dataclass(frozen=True)
class ServedIdentity:
    """A key, its blessing, and the roots for verifying peers, as they were served together."""

    principal: Principal
    blessing: Blessing
    roots: Roots


class IdentitySource(Protocol):
    """Serves the pod's identity, for use by several threads."""

    def identity(self) -> ServedIdentity:
        """What is served now; the same object until it changes. Raises AgentError."""

    def close(self) -> None:
        """Frees what it holds."""
