"""The cluster agent's calls: NewSecret, ForgetSecret, SeekBlessings. Bytes come and go elsewhere.

Every check comes before the signature, and the record of what was signed before the answer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Protocol

from blessings import Blessing, Name, PublicKey, fingerprint
from cluster_agent.attestation import AttestedPod, Attestor, TokenRefused
from cluster_agent.audit import Record
from cluster_agent.callers import Administrators, Caller, certificate_fingerprint, require_secret_keeper
from cluster_agent.errors import Forbidden, Refusal, TooManyCertificates, Unavailable
from cluster_agent.issuing import policy
from cluster_agent.issuing.policy import TtlPolicy
from cluster_agent.issuing.stages import IssuanceWatch, NobodyWatches
from cluster_agent.model import Application, Issuance, IssuedCertificate, Secret
from cluster_agent.registry import registered_before
from cluster_agent.registry.registry import Registration, Registry
from cluster_agent.signing.room import BootstrapCredential, SigningRoom
from cluster_agent.store import (
    MOST_LIVE_OF_POD,
    MOST_OF_FULL_LIFE,
    Store,
)


class Tripwire(Protocol):
    """Whoever wants to know that a bootstrap credential was misused."""

    def report(self, secret: Secret, refusal: Refusal) -> None: ...


@dataclass(frozen=True)
class IssuedSecret:
    """An answer to NewSecret: the record, the application's name, and the credential itself."""

    secret: Secret
    name: Name
    credential: BootstrapCredential


@dataclass(frozen=True)
class IssuedBlessing:
    """An answer to SeekBlessings. `renew_at` is the half of its life, without the replica's jitter."""

    name: Name
    blessing: Blessing
    renew_at: datetime


@dataclass
class ClusterAgent:
    """Keeps the secrets, and issues replica blessings to who proves to be a pod of their application."""

    prefix: Name
    administrators: Administrators
    ttl: TtlPolicy
    room: SigningRoom
    store: Store
    attestor: Attestor
    tripwires: tuple[Tripwire, ...]
    now: Callable[[], datetime]
    registry: Registry = field(default_factory=Registry)
    watch: IssuanceWatch = field(default_factory=NobodyWatches)

    async def new_secret(self, caller: Caller, application: Application) -> IssuedSecret:
        """Makes a bootstrap credential for `application`. Raises Refusal."""
        require_secret_keeper(caller, self.administrators)
        self.room.require_identity()
        await self.read_registry()
        name = self.registry.name_of(application, self.prefix)
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
        await self.store.secrets.add(secret, Record("secret-made", now, str(caller.name), details))
        await self.read_registry()
        if self.registry.name_of(application, self.prefix) != name:
            # Whoever registered it meanwhile has forgotten the secrets that there were.
            why = {"id": secret.id, "why": "Renamed"}
            await self.store.secrets.forget(
                secret.id, now, Record("secret-forgotten", now, str(caller.name), why)
            )
            raise Unavailable("Renamed", f"{name} is registered under another name since just now; try again")
        return IssuedSecret(secret, name, credential)

    async def read_registry(self) -> None:
        """Takes up what was registered at any replica. Raises Unavailable."""
        if self.registry.take(await self.store.registered.all(), self.room.issuing):
            registered_before.report(self.registered_objections(), self.registry.entries)

    def registered_objections(self) -> dict[Application, str]:
        """Why which registered names would be refused now."""
        entries = self.registry.entries.values()
        return registered_before.objections(entries, prefix=self.prefix, administrators=self.administrators)

    async def forget_secret(self, caller: Caller, secret_id: str) -> bool:
        """Stops issuing and renewing for the secret; what was issued under it stays valid. Answers whether
        it was known. Raises Refusal."""
        require_secret_keeper(caller, self.administrators)
        now = self.now()
        record = Record("secret-forgotten", now, str(caller.name), {"id": secret_id})
        return await self.store.secrets.forget(secret_id, now, record)

    async def secrets(self, caller: Caller) -> list[Secret]:
        """The secrets that are neither forgotten nor expired. Raises Refusal."""
        require_secret_keeper(caller, self.administrators)
        return await self.store.secrets.live(self.now())

    async def replica(self, caller: Caller) -> Issuance:
        """What the caller was issued as a replica, when it still may renew. Raises Refusal."""
        _, issuance = await self._entitlement(caller)
        if issuance is None:
            raise Forbidden(
                "NotAReplica", f"{caller.name} is a bootstrap credential; this call is a replica's"
            )
        return issuance

    async def seek_blessings(
        self, caller: Caller, csr_pem: str, token: str, ttl_seconds: int | None
    ) -> IssuedBlessing:
        """Names the key of the CSR after the pod that the token is bound to. Raises Refusal."""
        self.room.require_identity()
        with self.watch.stage("entitlement"):
            secret, earlier = await self._entitlement(caller)
        self.watch.is_for(secret.application)
        key = policy.requested_key(csr_pem)
        policy.check_key_is_new(key, caller.blessing.public_key)
        with self.watch.stage("attestation"):
            pod = await self._attested(caller, secret, token)
        if earlier is not None:
            policy.check_pod_of_issuance(pod, earlier)

        # Not before the attestation, which may take long: the name is the one of now.
        ttl = self._ttl_of(self.registry.of(secret.application)).choose(ttl_seconds)
        now = self.now()
        sign = partial(self._sign_and_record, caller, secret, pod, key, now)
        try:
            issued = await sign(ttl, most_live=MOST_OF_FULL_LIFE)
        except TooManyCertificates:
            # It starts again and again. It gets on, and what it leaves behind ends soon.
            issued = await sign(min(ttl, self.ttl.minimum), most_live=MOST_LIVE_OF_POD)
        self.watch.issued(issued.name)
        return issued

    async def _sign_and_record(
        self,
        caller: Caller,
        secret: Secret,
        pod: AttestedPod,
        key: PublicKey,
        now: datetime,
        ttl: timedelta,
        *,
        most_live: int,
    ) -> IssuedBlessing:
        """The pod's blessing, recorded. Raises Refusal, and what `Issuances.add` does."""
        registered = self.registry.of(secret.application)
        application = self.registry.name_of(secret.application, self.prefix)
        with self.watch.stage("signing"):
            if registered is not None and registered.chain is not None:
                blessing = self.room.sign_granted(registered.chain, pod.name, key, now=now, ttl=ttl)
            else:
                blessing = self.room.sign_replica(application, pod.name, key, now=now, ttl=ttl)
        issuance = Issuance(
            certificate_fingerprint=certificate_fingerprint(blessing),
            secret_id=secret.id,
            pod_name=pod.name,
            pod_uid=pod.uid,
            public_key_fingerprint=fingerprint(key),
            not_after=blessing.not_after,
            certificate=_certificate(blessing),
        )
        name = application.extend(pod.name)
        record = _issued(caller, name, issuance, now)
        with self.watch.stage("store"):
            await self.store.issuances.add(issuance, record, now=now, most_live=most_live)
        return IssuedBlessing(name, blessing, _half_way(now, blessing.not_after))

    def _ttl_of(self, registered: Registration | None) -> TtlPolicy:
        if registered is None or registered.ttl_seconds is None:
            return self.ttl
        return replace(self.ttl, default=timedelta(seconds=registered.ttl_seconds))

    async def _entitlement(self, caller: Caller) -> tuple[Secret, Issuance | None]:
        """The secret that the caller's certificate entitles it under, and, for a renewal, what it was
        issued before."""
        earlier: Issuance | None = None
        secret: Secret | None
        if caller.holds_bootstrap_credential:
            secret = await self.store.secrets.of_certificate(caller.certificate_fingerprint)
        else:
            known = await self.store.issuances.with_secret(caller.certificate_fingerprint)
            if known is None:
                raise Forbidden(
                    "NotAReplica", f"{caller.name} is neither a bootstrap credential nor a replica known here"
                )
            earlier, secret = known
        if secret is None:
            raise Forbidden("UnknownSecret", "no secret with this credential is known here")
        policy.check_not_forgotten(secret)
        if earlier is not None:
            policy.check_not_revoked(earlier)
        return secret, earlier

    async def _attested(self, caller: Caller, secret: Secret, token: str) -> AttestedPod:
        """The pod that the token proves, when it is one of the secret's application."""
        try:
            if not token:
                raise TokenRefused("TokenMissing", "a pod-bound service-account token is needed")
            pod = await self.attestor.attest(token)
            policy.check_pod_of_secret(pod, secret)
        except Forbidden as refusal:
            if caller.holds_bootstrap_credential:
                for tripwire in self.tripwires:
                    tripwire.report(secret, refusal)
            raise
        return pod


def _certificate(blessing: Blessing) -> IssuedCertificate:
    issuer = blessing.facts(1)
    return IssuedCertificate(
        serial=f"{blessing.leaf.serial_number:x}",
        issuer=str(issuer.name),
        issuing_key=issuer.key_fingerprint,
        issuer_not_after=issuer.not_after,
    )


def _issued(caller: Caller, name: Name, issuance: Issuance, now: datetime) -> Record:
    details = {
        "name": str(name),
        "uid": issuance.pod_uid,
        "secret": issuance.secret_id,
        "certificate": issuance.certificate_fingerprint,
        "notAfter": int(issuance.not_after.timestamp()),
    }
    return Record("blessing-issued", now, str(caller.name), details)


def _half_way(begin: datetime, end: datetime) -> datetime:
    return begin + max((end - begin) / 2, timedelta(0))
