"""Which heads of chains have to be vouched for. What we vouched for is remembered here and not in the
database, where others could change it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import structlog
from sqlalchemy import Connection, Row, select

from blessings import PublicKey
from cluster_agent.audit.records import Head
from cluster_agent.store.audit_chain import SignedHead
from cluster_agent.store.audit_pruning import is_removed
from cluster_agent.store.audit_tables import audit_chains

# Of chains of other processes, of which there may be many when this one starts.
_OTHERS_AT_ONCE = 100

_log = structlog.get_logger(__name__)


class Vouching:
    """Of one process."""

    def __init__(self) -> None:
        # By chain: what our records vouch for, and what those of a transaction do that has not ended.
        self._vouched: dict[str, Head] = {}
        self._pending: dict[str, Head] = {}
        self._again: list[Head] = []
        self._rows: dict[str, Row[Any]] = {}
        self._shown: dict[str, Head] = {}
        self._before: dict[str, Head] = {}
        self._told: set[str] = set()

    def look(self, connection: Connection) -> dict[str, Head]:
        """The heads that the database shows now, by chain."""
        self._rows = {row.chain: row for row in connection.execute(select(audit_chains))}
        shown = {name: Head(name, row.number, row.hash) for name, row in self._rows.items()}
        self._before, self._shown = self._shown, shown
        return shown

    def begin_anew(self) -> None:
        """The records that vouched are not as we wrote them: what they vouched for is to be said again."""
        self._again += self._vouched.values()
        self._vouched = {}

    def due(self, ours: Iterable[Head], upkeep: SignedHead | None, key: PublicKey) -> list[Head]:
        """The heads to vouch for. `ours` are those of our chains but that of upkeep, which says so."""
        own = {one.chain: one for one in ours}
        news = [one for one in own.values() if self._vouched.get(one.chain) != one]
        passed = {*own, *([upkeep[0].chain] if upkeep else [])}
        others = [one for name, one in self._shown.items() if name not in passed and self._is_news(one, key)]
        # What was there a minute ago, and is not any more, is vouched for as it was.
        back = [one for one in self._before.values() if self._went_back(one) and one.chain not in passed]
        due = {one.chain: one for one in [*self._again, *others[:_OTHERS_AT_ONCE], *back, *news]}
        self._tell_what_went_back(passed)
        return list(due.values())

    def _is_news(self, head: Head, key: PublicKey) -> bool:
        known = self._vouched.get(head.chain)
        if known is not None and head.number <= known.number:
            return False
        # Whoever writes to it now vouches for it as well; all would say of all, every minute.
        if self._before.get(head.chain, head) != head:
            return False
        return not is_removed(self._rows[head.chain], head.number, key)

    def _went_back(self, seen: Head) -> bool:
        shown, known = self._shown.get(seen.chain), self._vouched.get(seen.chain)
        gone = shown is None or shown.number < seen.number
        return gone and (known is None or known.number < seen.number)

    def _tell_what_went_back(self, passed: set[str]) -> None:
        for name, known in self._vouched.items():
            shown = self._shown.get(name)
            if name in passed or name in self._told or (shown is not None and known.number <= shown.number):
                continue
            self._told.add(name)
            _log.error("a chain of the audit was cut off; see cluster-agent-audit verify", chain=name)

    def said(self, heads: Iterable[Head]) -> None:
        """These are in a record of the transaction that has not ended."""
        self._pending |= {one.chain: one for one in heads}

    def committed(self) -> None:
        for name, head in self._pending.items():
            if name not in self._vouched or self._vouched[name].number <= head.number:
                self._vouched[name] = head
        self._again = [one for one in self._again if one.chain not in self._pending]
        self._pending = {}

    def failed(self) -> None:
        self._pending = {}
