"""Registration of applications by administrators, and their TTLs for the webhook. The store is the single
truth for all replicas of the agent."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from cluster_agent.audit import Record
from cluster_agent.callers import Administrators, Caller, require_administrator, require_secret_keeper
from cluster_agent.errors import BadRequest, Forbidden
from cluster_agent.issuing.ttl_policy import TtlPolicy
from cluster_agent.model import Application, unknown_application
from cluster_agent.registry.registry import Page, Registration, Registry
from cluster_agent.signing.room import SigningRoom
from cluster_agent.store.revocations import Revocations
from cluster_agent.store.secrets import Secrets

LONGEST_TTL_SECONDS = 24 * 3600


@dataclass(frozen=True)
class TtlPage:
    """Seconds: the TTL of an application without one of its own, and some of the applications that have one.
    `following` is to be given for the next part; None after the last."""

    default: int
    registered: Sequence[tuple[Application, int]]
    following: Application | None


@dataclass
class Registrar:
    """Every call is an administrator's, `ttls` also a secret keeper's; and may raise Refusal."""

    registry: Registry
    administrators: Administrators
    room: SigningRoom
    ttl: TtlPolicy
    secrets: Secrets
    revocations: Revocations
    now: Callable[[], datetime]

    async def register(
        self,
        caller: Caller,
        application: Application,
        name: str,
        ttl_seconds: int | None,
        chain: str | None,
        dns_names: Sequence[str] | None = None,
        *,
        share_dns_names: bool = False,
    ) -> Registration:
        """Gives the application this name, forgets the credentials for its previous name, and revokes the
        certificates issued under them.

        Without `dns_names` it keeps those that it has. When no answer arrives, a part may have been done:
        repeat the call.
        """
        require_administrator(caller, self.administrators)
        self.room.require_identity()
        least = int(self.ttl.minimum.total_seconds())
        if ttl_seconds is not None and not least <= ttl_seconds <= LONGEST_TTL_SECONDS:
            raise BadRequest(
                "InvalidTtl", f"a TTL is {least} to {LONGEST_TTL_SECONDS} s here, got {ttl_seconds}"
            )
        now = self.now()
        if dns_names is None:
            dns_names = await self._dns_names_of(application)
        registration = self.registry.check(
            application, name, ttl_seconds, chain, dns_names, roots=self.room.identity_roots, now=now
        )
        record = Record("registered", now, str(caller.name))
        since = await self.registry.rows.put(
            registration.row(self.room.issuing, now),
            record,
            own_name=str(application.name_under(self.registry.prefix)),
            share_dns_names=share_dns_names,
        )
        # If the name changed, revoke every secret; if an earlier attempt stopped half-way, only the older.
        await self._revoke(caller, application, until=since)
        return registration

    async def unregister(self, caller: Caller, application: Application) -> bool:
        """Lets the name follow from the application again; returns whether it was registered."""
        require_administrator(caller, self.administrators)
        record = Record("unregistered", self.now(), str(caller.name))
        known = await self.registry.rows.remove(application, record)
        if not known and not await self.revocations.knows_application(application):
            raise unknown_application(application)
        await self._revoke(caller, application, until=None)
        return known

    async def registered(self, caller: Caller, after: Application | None = None) -> Page:
        """The registrations that this agent made, as one page of them that follows `after`."""
        require_administrator(caller, self.administrators)
        return await self.registry.page(after)

    async def ttls(
        self, caller: Caller, shortest: int, limit: int, after: Application | None = None
    ) -> TtlPage:
        """What tells which applications have certificates of less than `shortest` seconds, as one page that
        follows `after`: those with a TTL of their own that is less, or all of them where the default is less.

        Whether this agent made the registrations is not checked: what is read here gives nothing, and where
        it is false, no certificate is signed at all.
        """
        require_secret_keeper(caller, self.administrators)
        default = int(self.ttl.default.total_seconds())
        below = shortest if default >= shortest else None
        found = await self.registry.rows.ttls(below, after=after, most=limit + 1)
        page = found[:limit]
        return TtlPage(default, page, page[-1][0] if len(found) > limit else None)

    async def _dns_names_of(self, application: Application) -> Sequence[str]:
        try:
            registered = await self.registry.of(application)
        except Forbidden:
            # Another program wrote the row; to register again is the remedy.
            return ()
        return () if registered is None else registered.dns_names

    async def _revoke(self, caller: Caller, application: Application, *, until: datetime | None) -> None:
        """Revokes the application's secrets made until then, or all, with the certificates under them."""
        # A credential contains its application's name, and a pod agent accepts no other.
        now = self.now()
        for secret in await self.secrets.live_of(application, now):
            if until is None or secret.created_at <= until:
                record = Record("revoked", now, str(caller.name), {"secret": secret.id})
                await self.revocations.revoke_secret(secret.id, now, record)
