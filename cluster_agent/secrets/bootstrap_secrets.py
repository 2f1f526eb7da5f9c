"""The calls NewSecret and ForgetSecret. The agent stores a credential's fingerprint, never the credential."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from blessings import Name
from cluster_agent.audit import Record
from cluster_agent.callers import Administrators, Caller, certificate_fingerprint, require_secret_keeper
from cluster_agent.errors import BadRequest, Forbidden, Unavailable
from cluster_agent.model import Application, Secret, unknown_secret
from cluster_agent.registry.registry import Registry
from cluster_agent.signing.room import BootstrapCredential, SigningRoom
from cluster_agent.store.secrets import Place, Secrets

MOST_AT_ONCE = 10_000


@dataclass(frozen=True)
class IssuedSecret:
    """The answer to NewSecret: the record, the application's name, and the credential itself."""

    secret: Secret
    name: Name
    credential: BootstrapCredential


@dataclass(frozen=True)
class Page:
    """Some of the secrets, and the place that the others follow; None when there are no others."""

    secrets: list[Secret]
    following: Place | None


@dataclass
class BootstrapSecrets:
    """Every call is for secret keepers and administrators, and may raise Refusal."""

    administrators: Administrators
    room: SigningRoom
    registry: Registry
    records: Secrets
    now: Callable[[], datetime]

    async def make(self, caller: Caller, application: Application) -> IssuedSecret:
        """A new bootstrap credential for `application`."""
        require_secret_keeper(caller, self.administrators)
        self.room.require_identity()
        name = await self.registry.name_of(application)
        now = self.now()
        credential = self.room.sign_bootstrap(now=now)
        secret = Secret(
            id=credential.id,
            application=application,
            certificate_fingerprint=certificate_fingerprint(credential.blessing),
            created_at=now,
            not_after=credential.blessing.not_after,
            forgotten=False,
        )
        details = {
            "id": secret.id,
            "application": str(name),
            "certificate": secret.certificate_fingerprint,
            "notAfter": int(secret.not_after.timestamp()),
        }
        if not await self.records.add(secret, Record("secret-made", now, str(caller.name), details)):
            raise Forbidden(
                "ApplicationRevoked", f"{name} was revoked; it gets no secret until it is reinstated"
            )
        if await self.registry.name_of(application) != name:
            # The administrator who registered it meanwhile has forgotten only the secrets that there were.
            why = {"id": secret.id, "why": "Renamed"}
            await self.records.forget(secret.id, now, Record("secret-forgotten", now, str(caller.name), why))
            raise Unavailable("Renamed", f"{name} has just been registered under another name; try again")
        return IssuedSecret(secret, name, credential)

    async def forget(self, caller: Caller, secret_id: str) -> None:
        """Stops issuing and renewing under the secret; certificates issued under it stay valid."""
        require_secret_keeper(caller, self.administrators)
        now = self.now()
        record = Record("secret-forgotten", now, str(caller.name), {"id": secret_id})
        if not await self.records.forget(secret_id, now, record):
            raise unknown_secret(secret_id)

    async def live(self, caller: Caller, namespace: str | None = None) -> list[Secret]:
        """The secrets that are neither forgotten nor expired, of one namespace or of all.

        A client that asks for all takes the answer for all of them, so more than MOST_AT_ONCE are refused.
        """
        require_secret_keeper(caller, self.administrators)
        found = await self.records.live(self.now(), namespace=namespace, limit=MOST_AT_ONCE + 1)
        if len(found) > MOST_AT_ONCE:
            raise BadRequest("TooManySecrets", f"more than {MOST_AT_ONCE} secrets; ask for pages, with limit")
        return found

    async def page(
        self, caller: Caller, limit: int, *, namespace: str | None = None, after: Place | None = None
    ) -> Page:
        """The first `limit` of the live secrets that follow the place `after`."""
        require_secret_keeper(caller, self.administrators)
        found = await self.records.live(self.now(), namespace=namespace, after=after, limit=limit + 1)
        if len(found) <= limit:
            return Page(found, None)
        last = found[limit - 1]
        return Page(found[:limit], Place(last.application.namespace, last.id))
