"""This process's chains of audit records, one for each kind, and what they say of all others. Called with the
connection of a transaction, on the one thread that writes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

from sqlalchemy import Connection, select, update

from blessings import Principal
from cluster_agent.audit.kinds import Kind, Rule, kind_of
from cluster_agent.audit.records import Head, Record
from cluster_agent.store.audit_chain import OwnChain, SignedHead
from cluster_agent.store.audit_pruning import cut_off, find_cut
from cluster_agent.store.audit_tables import audit_chains

_WITNESSED_AT_ONCE = 100


class AuditTrail:
    """`signer` has the issuing key."""

    def __init__(self, signer: Callable[[], Principal]) -> None:
        self._signer = signer
        self._chains: dict[Kind, OwnChain] = {
            kind: OwnChain(kind, signer) for kind in Kind if kind is not Kind.BEFORE
        }

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

    def failed(self) -> None:
        """The transaction is not; or, when the connection broke, perhaps it is."""
        for one in self._chains.values():
            one.failed()

    def witness(self, connection: Connection, now: datetime) -> Sequence[Head]:
        """Vouches in the chain of upkeep for the heads of all others; answers which, for `witnessed`."""
        head = self._chains[Kind.UPKEEP].head
        news = select(audit_chains.c.chain, audit_chains.c.number, audit_chains.c.hash).where(
            audit_chains.c.number > audit_chains.c.witnessed,
            audit_chains.c.chain != (head[0].chain if head else ""),
        )
        heads = [
            Head(*row)
            for row in connection.execute(news.order_by(audit_chains.c.chain).limit(_WITNESSED_AT_ONCE))
        ]
        if heads:
            said = {one.chain: [one.number, one.hash] for one in heads}
            self.append(connection, [Record("audit-witnessed", now, details={"heads": said})])
        return heads

    def prune(self, connection: Connection, rule: Rule, now: datetime) -> int:
        """Removes some of what `rule` says; answers how many, nothing when all is done. What is left of a
        chain has a signed base, and the removal a record."""
        key = self._signer()
        found = find_cut(connection, rule, key.public_key)
        if found is None:
            return 0
        base, cut = found
        cut_off(connection, cut, cut.signed_by(key, "base"))
        if Kind.UPKEEP in rule.kinds:
            # What vouched for the others is gone in part, so somebody has to vouch for all of them again.
            remaining = audit_chains.c.number > audit_chains.c.base_number
            unvouched = update(audit_chains).where(
                remaining, audit_chains.c.chain.not_like(f"{Kind.UPKEEP}.%")
            )
            connection.execute(unvouched.values(witnessed=0))
        details = {"chain": cut.chain, "through": cut.number, "hash": cut.hash}
        self.append(connection, [Record("audit-pruned", now, details=details)])
        return cut.number - base.number


def witnessed(connection: Connection, head: Head) -> None:
    """Notes that `head` need not be vouched for again. One in a transaction: two replicas that vouch for each
    other would wait for each other's rows."""
    connection.execute(
        update(audit_chains)
        .where(audit_chains.c.chain == head.chain, audit_chains.c.witnessed < head.number)
        .values(witnessed=head.number)
    )
