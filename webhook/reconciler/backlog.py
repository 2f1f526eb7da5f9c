"""The namespaces that changed and had no turn since: how far the reconciler is behind."""

from __future__ import annotations

from collections.abc import Callable


class Backlog:
    """Since when each namespace waits for its next turn. Safe for threads."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """`clock` is monotonic, in seconds."""
        self._clock = clock
        self._since: dict[str, float] = {}

    def due(self, namespace: str) -> None:
        """The namespace waits from now on, if it does not wait already."""
        self._since.setdefault(namespace, self._clock())

    def had_its_turn(self, namespace: str) -> None:
        """The namespace no longer waits, whether the turn was good or failed."""
        self._since.pop(namespace, None)

    @property
    def seconds(self) -> float:
        """How long the namespace that waits longest has waited; 0 when none does."""
        waiting = list(self._since.values())
        return self._clock() - min(waiting) if waiting else 0.0
