"""Revocation, as administrators ask for it: of a replica, an application, or a secret.

What is answered is durable, and on the lists of the replica that answers; other replicas of the agent have it
within seconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import structlog

from blessings import Name
from cluster_agent.audit import Record
from cluster_agent.callers import Caller, require_administrator, require_secret_keeper
from cluster_agent.errors import BadRequest, Refusal
from cluster_agent.issuing.cluster_agent import ClusterAgent
from cluster_agent.model import Application
from cluster_agent.revocation.lists import CurrentLists
from cluster_agent.store.revocations import Revoked

_log = structlog.get_logger(__name__)


@dataclass
class Revoker:
    """Every call may raise Refusal."""

    agent: ClusterAgent
    lists: CurrentLists

    async def revoke_pod(self, caller: Caller, pod_uid: str) -> Revoked:
        """The pod is issued nothing any more, even when it was issued nothing before."""
        require_administrator(caller, self.agent.administrators)
        revocations = self.agent.store.revocations
        return await self._published(
            await revocations.revoke_replica(pod_uid, *self._act(caller, uid=pod_uid))
        )

    async def revoke_serial(self, caller: Caller, serial: str) -> Revoked:
        """The replica that the certificate with that serial number, in hex, was issued to."""
        require_administrator(caller, self.agent.administrators)
        number = f"{int(serial.replace(':', ''), 16):x}"
        done = await self.agent.store.revocations.revoke_replica_of_serial(
            number, *self._act(caller, serial=number)
        )
        return await self._found(done, f"no valid certificate has the serial number {serial}")

    async def revoke_name(self, caller: Caller, name: Name) -> Revoked:
        """The replica that has that name now."""
        require_administrator(caller, self.agent.administrators)
        done = await self.agent.store.revocations.revoke_replica_named(
            name, *self._act(caller, name=str(name))
        )
        return await self._found(done, f"no live replica has the name {name}")

    async def revoke_application(self, caller: Caller, application: Application) -> Revoked:
        """Its secrets are forgotten, and it gets no new ones until it is reinstated."""
        require_administrator(caller, self.agent.administrators)
        revocations = self.agent.store.revocations
        return await self._published(
            await revocations.revoke_application(
                application, *self._act(caller, application=self._name(application))
            )
        )

    async def reinstate_application(self, caller: Caller, application: Application) -> bool:
        """Lets it have secrets again. Answers whether it was revoked."""
        require_administrator(caller, self.agent.administrators)
        details = {"application": self._name(application)}
        record = Record("reinstated", self.agent.now(), str(caller.name), details)
        return await self.agent.store.revocations.reinstate_application(application, record)

    async def revoke_secret(self, caller: Caller, secret_id: str) -> Revoked:
        """Forgets the secret, and revokes what was issued under it."""
        require_administrator(caller, self.agent.administrators)
        done = await self.agent.store.revocations.revoke_secret(
            secret_id, *self._act(caller, secret=secret_id)
        )
        return await self._published(done)

    async def forget_secret(self, caller: Caller, secret_id: str) -> Revoked:
        """The same, for who keeps secrets; of an administrator it is recorded as the same."""
        require_secret_keeper(caller, self.agent.administrators)
        if self.agent.administrators.allow(caller):
            return await self.revoke_secret(caller, secret_id)
        now = self.agent.now()
        record = Record("secret-forgotten", now, str(caller.name), {"id": secret_id, "revoked": True})
        done = await self.agent.store.revocations.revoke_secret(secret_id, now, record)
        return await self._published(done)

    def _act(self, caller: Caller, **what: str) -> tuple[datetime, Record]:
        """The time of the act, and its record."""
        now = self.agent.now()
        return now, Record("revoked", now, str(caller.name), what)

    def _name(self, application: Application) -> str:
        return str(application.name_under(self.agent.prefix))

    async def _found(self, done: Revoked, otherwise: str) -> Revoked:
        if not done.known:
            raise BadRequest("NothingToRevoke", otherwise)
        return await self._published(done)

    async def _published(self, done: Revoked) -> Revoked:
        try:
            await self.lists.refresh()
        except Refusal as error:
            # It is recorded, and that is what was asked for; the next attempt is a moment away.
            _log.error("revocation lists not made", reason=error.reason, error=str(error))
        return done
