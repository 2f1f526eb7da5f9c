"""The store: its parts, the keys that it belongs to, and the audit."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any

import structlog
from sqlalchemy import Connection, select

from blessings import Name
from cluster_agent.audit.kinds import Kind, Retention
from cluster_agent.audit.notes import Note
from cluster_agent.audit.records import Head, Record
from cluster_agent.errors import StoreError
from cluster_agent.store.access import Access, available
from cluster_agent.store.audit_pruning import prune
from cluster_agent.store.audit_search import AuditSearch
from cluster_agent.store.audit_trail import was_written
from cluster_agent.store.batches import Batches
from cluster_agent.store.database import Database, connect, database_url
from cluster_agent.store.documents import Document
from cluster_agent.store.entitlements import Entitlements
from cluster_agent.store.fleet import Fleet
from cluster_agent.store.inventory import Inventory
from cluster_agent.store.issuances import Issuances
from cluster_agent.store.jwt_svids import IssuedJwtSvids
from cluster_agent.store.locks import Leadership
from cluster_agent.store.migration import migrate
from cluster_agent.store.pod_requests import PodRequests
from cluster_agent.store.published_revocations import PublishedRevocations
from cluster_agent.store.registry import RegisteredApplications
from cluster_agent.store.revocations import Revocations
from cluster_agent.store.secrets import Secrets
from cluster_agent.store.tables import authority_keys

# Beside the roles of keys: the row with the name prefix.
_PREFIX = "name-prefix"
_log = structlog.get_logger(__name__)


def open_store(url: str, monotonic: Callable[[], float] = time.monotonic) -> Store:
    """Opens the store at `url`, and migrates its schema. Raises StoreError, SettingsError."""
    database = connect(database_url(url))
    try:
        migrate(database)
    except StoreError:
        database.dispose()
        raise
    return Store(database, monotonic)


class Store:
    """Every call may raise Unavailable when the database does not answer, and TooManyRequests."""

    def __init__(self, database: Database, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._leadership = Leadership(database)
        self._access = access = Access(database)
        self.claim = Document(access, "claim")
        self.registered = RegisteredApplications(access)
        self.fleet = Fleet(access)
        self.secrets = Secrets(access, monotonic)
        self.entitlements = Entitlements(access, monotonic)
        self.pod_requests = PodRequests(access)
        self.issuances = Issuances(access, self.pod_requests)
        self.revocations = Revocations(access)
        self.inventory = Inventory(access)
        self.audit_search = AuditSearch(access)
        self.published_revocations = PublishedRevocations(access)
        self.root_succession = Document(access, "root-succession")
        self.jwt_keys = Document(access, "jwt-keys")
        self.federation = Document(access, "federation")
        self.jwt_svids = IssuedJwtSvids(access)
        self._batches: Mapping[str, Batches[Any, Any]] = {
            "issuing": self.issuances.asked,
            "registrations": self.registered.asked,
            "secrets": self.secrets.asked,
            "renewals": self.issuances.renewals,
            "entitlements": self.entitlements.asked,
            "pod-requests": self.pod_requests.asked,
            "jwt-svids": self.jwt_svids.asked,
            "acknowledgements": self.fleet.told,
            "acknowledged": self.fleet.asked,
        }

    @property
    def queues(self) -> dict[str, int]:
        """The number of calls that wait, by queue."""
        return {name: batches.waiting for name, batches in self._batches.items()}

    async def close(self) -> None:
        """Waits for the work that was begun."""
        for batches in self._batches.values():
            await batches.idle()
        await asyncio.get_running_loop().run_in_executor(self._access.writer, self._leadership.resign)
        self._access.close()

    async def is_bound(self) -> bool:
        """Whether the database belongs to a cluster agent already."""
        return bool(await self._access.read(select(authority_keys).limit(1)))

    async def claim_authority(self, fingerprints: Mapping[str, str], prefix: Name) -> None:
        """Binds the database to the keys with these fingerprints, by role, and to the name prefix, if it is
        not bound yet.

        Raises StoreError when it is bound to other keys: two replicas with different keys would not accept
        each other's credentials. Likewise to another prefix: every replica would get another name.
        """
        wanted = {**fingerprints, _PREFIX: str(prefix)}

        def claim(connection: Connection) -> dict[str, str]:
            rows = [{"role": role, "fingerprint": value} for role, value in sorted(wanted.items())]
            connection.execute(self._access.insert(authority_keys).on_conflict_do_nothing(), rows)
            return {row.role: row.fingerprint for row in connection.execute(select(authority_keys))}

        known = await self._access.write(claim)
        if known[_PREFIX] != str(prefix):
            raise StoreError(
                f"this database belongs to a cluster agent with --name-prefix {known[_PREFIX]}, ours is "
                f"{prefix}; replicas have names below the first, so go on with it, or use another database"
            )
        for role, value in fingerprints.items():
            if known[role] != value:
                raise StoreError(
                    f"this database belongs to a cluster agent whose {role} key is {known[role]}, ours is "
                    f"{value}; give every replica the same keys, or use another database"
                )

    async def audit(self, *records: Record) -> None:
        """Stores records of acts that change nothing else here. Durable when it returns."""
        await self._access.write(lambda connection: self._access.append(connection, *records))

    async def audit_notes(self) -> list[Note]:
        """The heads of our chains that were committed since the last call. It does not need the database."""
        return await asyncio.get_running_loop().run_in_executor(self._access.writer, self._access.trail.notes)

    async def check_audit(self) -> None:
        """Looks whether the database has what we last wrote to each of our chains. May raise Unavailable."""
        await self._access.write(self._access.trail.check)

    async def lacking(self, heads: Sequence[Head]) -> list[Head]:
        """Those of the heads that the database does not have, and that were not removed by age or number."""
        return await self._access.count(
            lambda connection: [one for one in heads if not was_written(connection, one)]
        )

    @property
    def audit_chains_broken(self) -> int:
        """In how many of our chains the database did not have what we wrote, since the start."""
        return self._access.trail.broken

    async def prune_audit(self, retention: Retention, now: datetime) -> int:
        """Removes records that are too old or too many; returns how many. It works in parts, so that issuing
        never waits long for it."""
        removed = 0
        for kind in Kind:
            remove = partial(prune, kind=kind, limit=retention.limit(kind), now=now)
            while (part := await self._access.write(remove)).records:
                removed += part.records
                for chain, number in part.through.items():
                    _log.info("audit records removed", chain=chain, through=number)
        return removed

    async def lead(self) -> bool:
        """Whether this replica does the housekeeping now."""
        return await asyncio.get_running_loop().run_in_executor(
            self._access.writer, lambda: available(self._leadership.lead)
        )
