"""Registering applications, by administrators, with the store as the one truth of all replicas."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from cluster_agent.audit import Record
from cluster_agent.callers import Caller, require_administrator
from cluster_agent.errors import BadRequest, Conflict
from cluster_agent.issuing.cluster_agent import ClusterAgent
from cluster_agent.model import Application
from cluster_agent.registry import registry
from cluster_agent.registry.registry import Registration
from cluster_agent.store.registry import RegisteredRow

LONGEST_TTL_SECONDS = 24 * 3600


@dataclass
class Registering:
    """The registry of one agent. Every call may raise Unavailable."""

    agent: ClusterAgent

    async def look(self) -> None:
        """Takes up what any replica registered."""
        await self.agent.read_registry()

    async def register(
        self,
        caller: Caller,
        application: Application,
        name: str,
        ttl_seconds: int | None,
        chain: str | None,
    ) -> Registration:
        """Names the application from now on; credentials for its name before are forgotten, and what was
        issued under them revoked. Raises Refusal.

        Without an answer it may have happened in part: do it again.
        """
        agent = self.agent
        require_administrator(caller, agent.administrators)
        agent.room.require_identity()
        least = int(agent.ttl.minimum.total_seconds())
        if ttl_seconds is not None and not least <= ttl_seconds <= LONGEST_TTL_SECONDS:
            raise BadRequest(
                "InvalidTtl", f"a TTL is {least} to {LONGEST_TTL_SECONDS} s here, got {ttl_seconds}"
            )
        now = agent.now()
        registration = registry.check(
            application,
            name,
            ttl_seconds,
            chain,
            prefix=agent.prefix,
            roots=agent.room.identity_roots,
            issuing=agent.room.issuing,
            administrators=agent.administrators,
            now=now,
        )
        before = await self._row(application)
        record = Record("registered", now, str(caller.name))
        taken = await agent.store.registered.put(registration.row(agent.room.issuing, now), record)
        if taken is not None:
            raise Conflict(
                "NameTaken",
                f"another application is registered as {taken}; choose a name that neither is it, nor "
                "extends it, nor is extended by it",
            )
        await self.look()
        row = await self._row(application)
        # Of the name before are all, and when it was given by an attempt that ended half-way, the older ones.
        same = before is not None and row is not None and before.name == row.name
        await self._revoke(caller, application, until=row.registered_at if same and row else None)
        return registration

    async def unregister(self, caller: Caller, application: Application) -> bool:
        """Lets the name follow from the application again; answers whether it did not. Raises Refusal."""
        require_administrator(caller, self.agent.administrators)
        record = Record("unregistered", self.agent.now(), str(caller.name))
        known = await self.agent.store.registered.remove(
            application.namespace, application.service_account, record
        )
        await self.look()
        await self._revoke(caller, application, until=None)
        return known

    async def registered(self, caller: Caller) -> list[Registration]:
        """Those to be believed. Raises Refusal."""
        require_administrator(caller, self.agent.administrators)
        await self.look()
        return list(self.agent.registry.entries.values())

    async def _row(self, application: Application) -> RegisteredRow | None:
        rows = await self.agent.store.registered.all()
        of_it = (application.namespace, application.service_account)
        return next((row for row in rows if (row.namespace, row.service_account) == of_it), None)

    async def _revoke(self, caller: Caller, application: Application, *, until: datetime | None) -> None:
        """The application's secrets that were made until then, or all, and what was issued under them."""
        # A credential says its application's name, and a pod agent believes no other.
        now = self.agent.now()
        for secret in await self.agent.secrets(caller):
            if secret.application == application and (until is None or secret.created_at <= until):
                record = Record("revoked", now, str(caller.name), {"secret": secret.id})
                await self.agent.store.revocations.revoke_secret(secret.id, now, record)
