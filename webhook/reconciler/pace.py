"""How many calls of the cluster agent each namespace may cause."""

from __future__ import annotations

# At once, and per second after that. The cluster agent takes 100 a second from the webhook, for all
# namespaces; a tenant who creates and deletes service accounts could otherwise use all of them.
BURST = 60.0
PER_SECOND = 10.0


class Pace:
    """The calls that each namespace has left; less than none, when it caused more at once."""

    def __init__(self) -> None:
        self._left: dict[str, tuple[float, float]] = {}

    def spend(self, namespace: str, calls: int, now: float) -> float:
        """Counts the calls of one turn. Returns the seconds until the namespace may have its next one."""
        left = self._at(namespace, now) - calls
        self._left[namespace] = (left, now)
        return max(0.0, -left / PER_SECOND)

    def forget_idle(self, now: float) -> None:
        """Forgets the namespaces that have all of their calls left."""
        self._left = {one: held for one, held in self._left.items() if self._at(one, now) < BURST}

    def _at(self, namespace: str, now: float) -> float:
        left, at = self._left.get(namespace, (BURST, now))
        return min(BURST, left + (now - at) * PER_SECOND)
