"""This process's chains of audit records, one for each kind, and what they say of all others. Called with the
connection of a transaction, on the one thread that writes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime

from sqlalchemy import Connection

from blessings import Principal
from cluster_agent.audit.kinds import Kind, Rule, kind_of
from cluster_agent.audit.records import Head, Record
from cluster_agent.audit.verification import WITNESSED
from cluster_agent.store.audit_chain import OwnChain, SignedHead
from cluster_agent.store.audit_pruning import cut_off, find_cuts, still_needed
from cluster_agent.store.audit_vouching import Vouching

_WITNESSED_AT_ONCE = 100


class AuditTrail:
    """`signer` has the issuing key."""

    def __init__(self, signer: Callable[[], Principal]) -> None:
        self._signer = signer
        self._chains: dict[Kind, OwnChain] = {
            kind: OwnChain(kind, signer) for kind in Kind if kind is not Kind.BEFORE
        }
        self._vouching = Vouching()
        self._lost_upkeep = 0

    @property
    def heads(self) -> list[SignedHead]:
        """As they were last committed here, and their signatures."""
        return [one.head for one in self._chains.values() if one.head is not None]

    def append(self, connection: Connection, records: Sequence[Record]) -> None:
        """Adds the records; `committed` or `failed` is to be called when the transaction has ended."""
        of_kind: dict[Kind, list[Record]] = {}
        for record in records:
            of_kind.setdefault(kind_of(record), []).append(record)
        for kind, some in of_kind.items():
            self._chains[kind].append(connection, some)

    def committed(self) -> None:
        """The transaction is durable."""
        for one in self._chains.values():
            one.committed()
        self._vouching.committed()

    def failed(self) -> None:
        """The transaction is not; or, when the connection broke, perhaps it is."""
        for one in self._chains.values():
            one.failed()
        self._vouching.failed()

    def witness(self, connection: Connection, now: datetime) -> None:
        """Vouches in the chain of upkeep for what other chains hold: for our own by what we wrote, whatever
        the database shows, and for the others by what it shows."""
        shown = self._vouching.look(connection)
        for one in self._chains.values():
            one.settle(connection)
            if one.head is not None and shown.get(one.head[0].chain) != one.head[0]:
                one.give_up()
        if len(self._chains[Kind.UPKEEP].lost) > self._lost_upkeep:
            self._lost_upkeep = len(self._chains[Kind.UPKEEP].lost)
            self._vouching.begin_anew()
        upkeep = self._chains[Kind.UPKEEP].head
        ours = [head for head, _ in self.heads if upkeep is None or head != upkeep[0]]
        ours += [head for one in self._chains.values() for head in one.lost]
        self._say(connection, self._vouching.due(ours, upkeep, self._signer().public_key), now)

    def prune(self, connection: Connection, rule: Rule, now: datetime) -> int:
        """Removes some of what `rule` says; answers how many, nothing when all is done. What is left of a
        chain has a signed base, and the removal a record. What the removed records vouched for is vouched
        for again, in the same transaction."""
        key = self._signer()
        cuts = find_cuts(connection, rule, key.public_key)
        for cut in cuts:
            cut_off(connection, cut.last, cut.last.signed_by(key, "base"))
        removals = [
            {"chain": cut.last.chain, "through": cut.last.number, "hash": cut.last.hash} for cut in cuts
        ]
        self.append(connection, [Record("audit-pruned", now, details=one) for one in removals])
        self._say(connection, still_needed(connection, cuts, key.public_key), now)
        return sum(cut.count for cut in cuts)

    def _say(self, connection: Connection, heads: Iterable[Head], now: datetime) -> None:
        said = list(heads)
        for at in range(0, len(said), _WITNESSED_AT_ONCE):
            part = said[at : at + _WITNESSED_AT_ONCE]
            details = {"heads": {one.chain: [one.number, one.hash] for one in part}}
            self.append(connection, [Record(WITNESSED, now, details=details)])
        self._vouching.said(said)
