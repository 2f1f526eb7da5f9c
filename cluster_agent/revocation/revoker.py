"""The revoker: revokes a replica, an application or a secret for an administrator.

When the answer arrives, the revocation is durable, and on the lists of the replica that answered. Other
replicas of the agent have it on theirs within seconds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import structlog

from blessings import Name
from cluster_agent.audit import Record
from cluster_agent.callers import Administrators, Caller, require_administrator, require_secret_keeper
from cluster_agent.errors import NotFound, Refusal
from cluster_agent.model import Application, unknown_application, unknown_secret
from cluster_agent.revocation.lists import CurrentLists
from cluster_agent.store.revocations import Revocations, Revoked

_log = structlog.get_logger(__name__)


@dataclass
class Revoker:
    """Every call may raise Refusal. All but `forget_secret` need an administrator."""

    revocations: Revocations
    lists: CurrentLists
    administrators: Administrators
    prefix: Name
    now: Callable[[], datetime]

    async def revoke_pod(self, caller: Caller, pod_uid: str, *, ahead: bool = False) -> Revoked:
        """Revokes the pod's certificates, and issues none to it from now on; with `ahead` even if it had none
        before."""
        act = self._act(caller, uid=pod_uid)
        done = await self.revocations.revoke_replica(pod_uid, *act, ahead=ahead)
        return await self._found(done, _nothing(f"no pod with the uid {pod_uid} had a certificate"), ahead)

    async def revoke_serial(self, caller: Caller, serial: str) -> Revoked:
        """Revokes the replica with the certificate of that serial number (in hex)."""
        number = f"{int(serial.replace(':', ''), 16):x}"
        act = self._act(caller, serial=number)
        done = await self.revocations.revoke_replica_of_serial(number, *act)
        return await self._found(done, _nothing(f"no valid certificate has the serial number {serial}"))

    async def revoke_name(self, caller: Caller, name: Name) -> Revoked:
        """Revokes the replica that has that name now."""
        act = self._act(caller, name=str(name))
        done = await self.revocations.revoke_replica_named(name, *act)
        return await self._found(done, _nothing(f"no live replica has the name {name}"))

    async def revoke_application(
        self, caller: Caller, application: Application, *, ahead: bool = False
    ) -> Revoked:
        """Revokes the application: forgets its secrets, and gives it no new ones until it is reinstated; with
        `ahead` even if it had none before."""
        act = self._act(caller, application=str(application.name_under(self.prefix)))
        done = await self.revocations.revoke_application(application, *act, ahead=ahead)
        return await self._found(done, unknown_application(application), ahead)

    async def reinstate_application(self, caller: Caller, application: Application) -> bool:
        """Allows the application secrets again. Returns whether it was revoked."""
        name = str(application.name_under(self.prefix))
        _, record = self._act(caller, "reinstated", application=name)
        was = await self.revocations.reinstate_application(application, record)
        if not was and not await self.revocations.knows_application(application):
            raise unknown_application(application)
        return was

    async def revoke_secret(self, caller: Caller, secret_id: str) -> Revoked:
        """Forgets the secret, and revokes the certificates issued under it."""
        act = self._act(caller, secret=secret_id)
        done = await self.revocations.revoke_secret(secret_id, *act)
        return await self._found(done, unknown_secret(secret_id))

    async def forget_secret(self, caller: Caller, secret_id: str) -> Revoked:
        """As `revoke_secret`, for secret keepers too; an administrator's call is recorded as `revoked`."""
        require_secret_keeper(caller, self.administrators)
        if self.administrators.allow(caller):
            return await self.revoke_secret(caller, secret_id)
        now = self.now()
        record = Record("secret-forgotten", now, str(caller.name), {"id": secret_id, "revoked": True})
        done = await self.revocations.revoke_secret(secret_id, now, record)
        return await self._found(done, unknown_secret(secret_id))

    def _act(self, caller: Caller, act: str = "revoked", **what: str) -> tuple[datetime, Record]:
        """The time of an administrator's act, and its record."""
        require_administrator(caller, self.administrators)
        now = self.now()
        return now, Record(act, now, str(caller.name), what)

    async def _found(self, done: Revoked, otherwise: NotFound, ahead: bool = False) -> Revoked:
        if not done.known and not ahead:
            raise otherwise
        return await self._published(done)

    async def _published(self, done: Revoked) -> Revoked:
        try:
            await self.lists.refresh()
        except Refusal as error:
            # The revocation is recorded, which is what the caller asked for; the lists are tried again in a
            # moment.
            _log.error("revocation lists not made", reason=error.reason, error=str(error))
        return done


def _nothing(message: str) -> NotFound:
    return NotFound("NothingToRevoke", message)
