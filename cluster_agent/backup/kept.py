"""What a restored store keeps of the one that it replaces: what ended early stays ended.

A backup knows nothing of what was revoked or forgotten later. Without this, a restore would un-revoke it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Table, bindparam, select, update

from cluster_agent.store.tables import (
    applications,
    authority_keys,
    issuers,
    revocation_state,
    revoked_applications,
    revoked_certificates,
    revoked_replicas,
    secrets,
)

_REVOKED = (revoked_certificates, revoked_replicas, revoked_applications)
_Row = Mapping[str, Any]
Place = tuple[str, str]


@dataclass(frozen=True)
class Ended:
    """What ended early in a store, and what makes it that of one cluster agent."""

    authority: frozenset[tuple[str, str]]
    rows: Mapping[Table, list[_Row]]
    number: int
    forgotten: Mapping[str, int]
    names: Mapping[Place, str]

    @classmethod
    def of(cls, connection: Connection) -> Ended:
        """Reads a store of this program's schema."""
        forgotten = select(secrets.c.id, secrets.c.forgotten_at).where(secrets.c.forgotten_at.is_not(None))
        named = select(applications.c.namespace, applications.c.service_account, applications.c.name)
        return cls(
            authority=frozenset(
                (row.role, row.fingerprint) for row in connection.execute(select(authority_keys))
            ),
            rows={
                table: [dict(row) for row in connection.execute(select(table)).mappings()]
                for table in (issuers, *_REVOKED)
            },
            number=connection.execute(select(revocation_state.c.number)).scalar() or 0,
            forgotten={row.id: row.forgotten_at for row in connection.execute(forgotten)},
            names={(row.namespace, row.service_account): row.name for row in connection.execute(named)},
        )


def keep(connection: Connection, before: Ended) -> list[str]:
    """Adds to the restored store what had ended in the one before; returns lines for the operator: what was
    kept, and what the operator has to look at."""
    restored = Ended.of(connection)
    if restored.authority != before.authority:
        return ["the store that was there belongs to another cluster agent: nothing of it is kept"]
    added: dict[Table, int] = {}
    for table, rows in before.rows.items():
        keys = [column.name for column in table.primary_key]
        known = {tuple(row[key] for key in keys) for row in restored.rows[table]}
        new = [row for row in rows if tuple(row[key] for key in keys) not in known]
        if new:
            connection.execute(table.insert(), new)
        added[table] = len(new)
    newly = [
        {"secret": one, "at": at} for one, at in before.forgotten.items() if one not in restored.forgotten
    ]
    forgetting = (
        update(secrets).where(secrets.c.id == bindparam("secret")).values(forgotten_at=bindparam("at"))
    )
    if newly:
        connection.execute(forgetting, newly)
    if before.number > restored.number:
        connection.execute(update(revocation_state).values(number=before.number))
    counts = ", ".join(f"{added[table]} {table.name.removeprefix('revoked_')}" for table in _REVOKED)
    return [
        f"kept what was revoked since: {counts}; and {len(newly)} forgotten secrets",
        *_looked_at(before, restored),
    ]


def _looked_at(before: Ended, restored: Ended) -> list[str]:
    lines = [
        f"{'/'.join(place)} is {name} again; it was {before.names.get(place, 'unregistered')} meanwhile"
        for place, name in restored.names.items()
        if before.names.get(place) != name
    ]
    lines += [
        f"{'/'.join(place)} was registered as {name} after the backup: register it again"
        for place, name in before.names.items()
        if place not in restored.names
    ]
    reinstated = _places(restored) - _places(before)
    return lines + [f"{'/'.join(place)} is revoked again: vkube reinstate" for place in sorted(reinstated)]


def _places(ended: Ended) -> set[Place]:
    return {(row["namespace"], row["service_account"]) for row in ended.rows[revoked_applications]}
