"""One chain of audit records that this process writes. Called with the connection of a transaction, on the
one thread that writes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import structlog
from sqlalchemy import Connection, bindparam, insert, select, update

from blessings import Principal
from cluster_agent.audit.kinds import Kind, new_chain
from cluster_agent.audit.records import BEGINNING, Head, Record, Signed, next_hash
from cluster_agent.store.audit_tables import audit_chains, audit_records

SignedHead = tuple[Head, Signed]

_log = structlog.get_logger(__name__)
_ADD_RECORDS = insert(audit_records)
_SET_HEAD = (
    update(audit_chains)
    .where(audit_chains.c.chain == bindparam("of"), audit_chains.c.hash == bindparam("previous"))
    .values({name: bindparam(f"new_{name}") for name in ("number", "hash", "key", "signature")})
)


class OwnChain:
    """Begins with the first record. `signer` has the issuing key. `lost` are heads that were committed here
    and are not in the database any more: somebody else changed the chain, and another was begun."""

    def __init__(self, kind: Kind, signer: Callable[[], Principal]) -> None:
        self._kind = kind
        self._signer = signer
        self._committed: SignedHead | None = None
        self._pending: SignedHead | None = None
        self._doubtful: SignedHead | None = None
        self.lost: list[Head] = []

    @property
    def head(self) -> SignedHead | None:
        """As it was last committed here, and its signature; None before the first record."""
        return self._committed

    def append(self, connection: Connection, records: Sequence[Record]) -> None:
        """Adds the records, of which there are some; `committed` or `failed` is to be called when the
        transaction has ended."""
        self.settle(connection)
        last = self._pending or self._committed
        head, rows = self._continue(last, records)
        signed = head.signed_by(self._signer())
        if last is None:
            connection.execute(insert(audit_chains), _new_chain(head, signed))
        elif connection.execute(_SET_HEAD, _head_values(last[0], head, signed)).rowcount != 1:
            self.give_up()
            self.append(connection, records)
            return
        self._pending = (head, signed)
        connection.execute(_ADD_RECORDS, rows)

    def _continue(
        self, last: SignedHead | None, records: Sequence[Record]
    ) -> tuple[Head, list[dict[str, Any]]]:
        head = last[0] if last else Head(new_chain(self._kind), *BEGINNING)
        if last is None:
            records = [Record("audit-begun", records[0].at), *records]
        rows = []
        for record in records:
            text = record.text()
            head = Head(head.chain, head.number + 1, next_hash(head, text))
            rows.append(
                {
                    "chain": head.chain,
                    "number": head.number,
                    "at": int(record.at.timestamp()),
                    "record": text,
                    "hash": head.hash,
                }
            )
        return head, rows

    def settle(self, connection: Connection) -> None:
        """Finds out what became of a transaction that is in doubt: which of two heads is in the database."""
        doubtful, self._doubtful = self._doubtful, None
        if doubtful is None:
            return
        chain = doubtful[0].chain
        found = connection.execute(
            select(audit_chains.c.number, audit_chains.c.hash).where(audit_chains.c.chain == chain)
        ).one_or_none()
        there = None if found is None else Head(chain, *found)
        if there == doubtful[0]:
            self._committed = doubtful
        elif there != (self._committed[0] if self._committed else None):
            self.give_up()

    def give_up(self) -> None:
        """Somebody else wrote to this chain: what comes next begins another one, and verifying shows what is
        wrong with this."""
        if self._committed is not None:
            self.lost.append(self._committed[0])
            _log.error(
                "the audit's chain was changed by somebody else; another is begun",
                chain=self._committed[0].chain,
            )
        self._committed = self._pending = None

    def committed(self) -> None:
        """The transaction is durable."""
        if self._pending is not None:
            self._committed, self._pending = self._pending, None

    def failed(self) -> None:
        """The transaction is not; or, when the connection broke, perhaps it is."""
        if self._pending is not None:
            self._doubtful, self._pending = self._pending, None


def _new_chain(head: Head, signed: Signed) -> dict[str, Any]:
    number, value = BEGINNING
    return {
        "chain": head.chain,
        "number": head.number,
        "hash": head.hash,
        "key": signed.key,
        "signature": signed.signature,
        "base_number": number,
        "base_hash": value,
        "base_key": "",
        "base_signature": "",
        "witnessed": 0,
    }


def _head_values(last: Head, head: Head, signed: Signed) -> dict[str, Any]:
    return {
        "of": head.chain,
        "previous": last.hash,
        "new_number": head.number,
        "new_hash": head.hash,
        "new_key": signed.key,
        "new_signature": signed.signature,
    }
