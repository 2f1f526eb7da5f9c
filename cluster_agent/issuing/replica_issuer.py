"""SeekBlessings: blesses a replica's key with the name of its pod. No HTTP here.

Every check comes before the signature, and the certificate is recorded before the answer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Protocol

from blessings import Blessing, Name, PublicKey, fingerprint
from cluster_agent.attestation import AttestedPod, Attestor, TokenOutOfTime
from cluster_agent.audit import Record
from cluster_agent.callers import Caller, certificate_fingerprint
from cluster_agent.errors import Forbidden, Refusal, TooManyCertificates
from cluster_agent.fair_queue import Tenant
from cluster_agent.issuing import checks
from cluster_agent.issuing.checks import Known, ProvenPod, RequestedKey, requested_key, require
from cluster_agent.issuing.stages import IssuanceWatch, NobodyWatches
from cluster_agent.issuing.ttl_policy import TtlPolicy
from cluster_agent.model import Issuance, IssuedCertificate, Secret
from cluster_agent.registry.registry import Registration, Registry
from cluster_agent.signing.room import SigningRoom
from cluster_agent.store import MOST_LIVE_OF_POD, MOST_OF_FULL_LIFE
from cluster_agent.store.issuances import Issuances
from cluster_agent.store.secrets import Secrets


class Tripwire(Protocol):
    """Called when a bootstrap credential was misused."""

    def report(self, secret: Secret, refusal: Refusal) -> None: ...


@dataclass(frozen=True)
class IssuedBlessing:
    """The answer to SeekBlessings. `renew_at` is after half of its life, without the replica's jitter."""

    name: Name
    blessing: Blessing
    renew_at: datetime


@dataclass
class ReplicaIssuer:
    """Issues replica blessings to callers that prove to be a pod of their application."""

    room: SigningRoom
    registry: Registry
    secrets: Secrets
    issuances: Issuances
    attestor: Attestor
    tripwires: tuple[Tripwire, ...]
    ttl: TtlPolicy
    now: Callable[[], datetime]
    watch: IssuanceWatch = field(default_factory=NobodyWatches)

    async def seek_blessings(
        self, caller: Caller, csr_pem: str, token: str, ttl_seconds: int | None
    ) -> IssuedBlessing:
        """Blesses the key of the CSR with the name of the pod that the token is bound to. Raises Refusal."""
        self.room.require_identity()
        with self.watch.stage("entitlement"):
            secret, earlier = await self.entitlement(caller)
        self.watch.is_for(secret.application)
        key = requested_key(csr_pem)
        require(checks.KEY, RequestedKey(key, caller.blessing.public_key, self.room.public_keys))
        with self.watch.stage("attestation"):
            pod = await self.attested(caller, secret, earlier, token)

        # Read after the attestation, which may take long, so that the current registration counts.
        registered = await self.registry.of(secret.application)
        ttl = self._ttl_of(registered).choose(ttl_seconds)
        sign = partial(self._sign_and_record, caller, secret, registered, pod, key, self.now())
        try:
            issued = await sign(ttl, most_live=MOST_OF_FULL_LIFE)
        except TooManyCertificates:
            # The pod restarts again and again. It still gets a certificate, with a short life.
            issued = await sign(min(ttl, self.ttl.minimum), most_live=MOST_LIVE_OF_POD)
        self.watch.issued(issued.name)
        return issued

    async def replica(self, caller: Caller) -> Issuance:
        """The issuance of the caller's certificate, if it is a replica that may renew. Raises Refusal."""
        return (await self.entitled_replica(caller))[1]

    async def entitled_replica(self, caller: Caller) -> tuple[Secret, Issuance]:
        """That issuance, with the secret that it was made under. Raises Refusal."""
        secret, issuance = await self.entitlement(caller)
        if issuance is None:
            raise Forbidden(
                "NotAReplica", f"{caller.name} is a bootstrap credential; this call is a replica's"
            )
        return secret, issuance

    async def entitlement(self, caller: Caller) -> tuple[Secret, Issuance | None]:
        """The secret that entitles the caller, and, for a replica, the issuance of its certificate. Raises
        Refusal."""
        known: tuple[Issuance | None, Secret | None] | None
        if caller.holds_bootstrap_credential:
            known = (
                None,
                await self.secrets.of_certificate(caller.certificate_fingerprint, caller.name.components),
            )
        else:
            known = await self.issuances.with_secret(caller.certificate_fingerprint, caller.name.components)
        earlier, secret = known or (None, None)
        require(checks.ENTITLEMENT, Known(caller, secret, earlier))
        assert secret is not None  # noqa: S101 - for mypy; it was required
        return secret, earlier

    async def attested(
        self, caller: Caller, secret: Secret, earlier: Issuance | None, token: str
    ) -> AttestedPod:
        """The pod that the token proves, if it is the caller's. Raises Refusal."""
        try:
            require(checks.TOKEN, token)
            pod = await self.attestor.attest(token, _tenant(caller, secret))
            require(checks.POD, ProvenPod(pod, secret, earlier))
        except Forbidden as refusal:
            if caller.holds_bootstrap_credential and not isinstance(refusal, TokenOutOfTime):
                for tripwire in self.tripwires:
                    tripwire.report(secret, refusal)
            raise
        return pod

    async def _sign_and_record(
        self,
        caller: Caller,
        secret: Secret,
        registered: Registration | None,
        pod: AttestedPod,
        key: PublicKey,
        now: datetime,
        ttl: timedelta,
        *,
        most_live: int,
    ) -> IssuedBlessing:
        """Signs and records the pod's blessing. Raises Refusal."""
        application = self.registry.name(secret.application, registered)
        dns_names = () if registered is None else registered.dns_names
        if registered is not None and registered.chain is not None:
            sign = partial(self.room.sign_granted, registered.chain)
        else:
            sign = partial(self.room.sign_replica, application)
        with self.watch.stage("signing"):
            blessing = sign(pod.name, key, now=now, ttl=ttl, dns_names=dns_names)
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
        record = _issued(caller, name, issuance, dns_names, now)
        with self.watch.stage("store"):
            await self.issuances.add(issuance, record, now=now, most_live=most_live)
        return IssuedBlessing(name, blessing, _half_way(now, blessing.not_after))

    def _ttl_of(self, registered: Registration | None) -> TtlPolicy:
        if registered is None or registered.ttl_seconds is None:
            return self.ttl
        return replace(self.ttl, default=timedelta(seconds=registered.ttl_seconds))


def _tenant(caller: Caller, secret: Secret) -> Tenant:
    """For whom a call waits. Replicas that start share one bootstrap credential, so that those that renew do
    not wait behind them."""
    return (secret.application.namespace, secret.application.service_account, str(caller.name))


def _certificate(blessing: Blessing) -> IssuedCertificate:
    issuer = blessing.facts(1)
    return IssuedCertificate(
        serial=f"{blessing.leaf.serial_number:x}",
        issuer=str(issuer.name),
        issuing_key=issuer.key_fingerprint,
        issuer_not_after=issuer.not_after,
    )


def _issued(
    caller: Caller, name: Name, issuance: Issuance, dns_names: Sequence[str], now: datetime
) -> Record:
    details: dict[str, Any] = {
        "name": str(name),
        "uid": issuance.pod_uid,
        "secret": issuance.secret_id,
        "certificate": issuance.certificate_fingerprint,
        "notAfter": int(issuance.not_after.timestamp()),
    }
    if dns_names:
        details["dnsNames"] = list(dns_names)
    return Record("blessing-issued", now, str(caller.name), details)


def _half_way(begin: datetime, end: datetime) -> datetime:
    return begin + max((end - begin) / 2, timedelta(0))
