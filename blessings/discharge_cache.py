"""A cache that fetches the discharges of a blessing and keeps them until they expire.

cache = DischargeCache(fetch)                      # fetch carries bytes; see `encode_request`
discharges = cache.discharges_for(blessing, now=now)   # to present beside the blessing
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from datetime import datetime

from blessings.blessing import Blessing
from blessings.caveats.discharges import MAX_DISCHARGES, Discharge, Discharges, third_party
from blessings.caveats.kinds import ThirdParty
from blessings.errors import InvalidCaveat

# Asks the caveat's discharger over the network; raises its own error when there is no answer.
Fetch = Callable[[ThirdParty], Discharge]

CAPACITY = 1024


class DischargeCache:
    """Discharges by caveat. A fetched discharge is kept only when the caveat's discharger signed it.

    Safe for threads; two of them may ask for the same discharge at once.
    """

    def __init__(self, fetch: Fetch, *, capacity: int = CAPACITY) -> None:
        self._fetch = fetch
        self._capacity = capacity
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, Discharge] = OrderedDict()

    def discharges_for(self, blessing: Blessing, *, now: datetime) -> Discharges:
        """A discharge for each third-party caveat of the chain, and for each such caveat of those discharges.

        Raises InvalidCertificate for a chain that cannot be read, InvalidCaveat for a discharge with a wrong
        signature or when there are too many of them, and any error of `fetch`.
        """
        positions = range(len(blessing.certificates))
        waiting = third_party(caveat for one in positions for caveat in blessing.facts(one).caveats)
        found: dict[str, Discharge] = {}
        while waiting:
            caveat = waiting.pop()
            if caveat.identifier in found:
                continue
            if len(found) >= MAX_DISCHARGES:
                raise InvalidCaveat(f"the blessing needs more than {MAX_DISCHARGES} discharges")
            found[caveat.identifier] = self._discharge(caveat, now)
            waiting += third_party(found[caveat.identifier].caveats)
        return Discharges(tuple(found.values()))

    def _discharge(self, caveat: ThirdParty, now: datetime) -> Discharge:
        kept = self._recall(caveat.identifier, now)
        if kept is not None:
            return kept
        fetched = self._fetch(caveat)
        if fetched.caveat != caveat.identifier or not fetched.is_signed_by(caveat.discharger):
            raise InvalidCaveat(f"the discharge from {caveat.location!r:.200} is for another caveat")
        with self._lock:
            self._kept[caveat.identifier] = fetched
            while len(self._kept) > self._capacity:
                self._kept.popitem(last=False)
        return fetched

    def _recall(self, identifier: str, now: datetime) -> Discharge | None:
        with self._lock:
            kept = self._kept.get(identifier)
            if kept is None:
                return None
            if kept.not_after is not None and now >= kept.not_after:
                del self._kept[identifier]
                return None
            self._kept.move_to_end(identifier)
            return kept
