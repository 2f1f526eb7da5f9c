"""SeekBlessings: blesses a replica's key with the name of its pod. No HTTP here.

Every check comes before the signature, and the certificate is recorded before the answer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from cluster_agent.attestation import AttestedPod, Attestor, TokenOutOfTime
from cluster_agent.callers import Caller
from cluster_agent.errors import Forbidden, Refusal
from cluster_agent.fair_queue import Tenant
from cluster_agent.issuing import checks
from cluster_agent.issuing.certification import Certification, IssuedBlessing, Lives, Replica
from cluster_agent.issuing.checks import Known, ProvenPod, RequestedKey, requested_key, require
from cluster_agent.issuing.stages import IssuanceWatch, NobodyWatches
from cluster_agent.issuing.ttl_policy import TtlPolicy
from cluster_agent.model import Issuance, Secret
from cluster_agent.registry.registry import Registration, Registry
from cluster_agent.signing.room import SigningRoom
from cluster_agent.store.issuances import Issuances
from cluster_agent.store.secrets import Secrets


class Tripwire(Protocol):
    """Called when a bootstrap credential was misused."""

    def report(self, secret: Secret, refusal: Refusal) -> None: ...


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
        replica = Replica(str(caller.name), secret, pod.name, pod.uid, key)
        # A pod that restarts again and again still gets a certificate, with a short life.
        lives = Lives(ttl, min(ttl, self.ttl.minimum))
        issued = await self._certification.certify(replica, registered, lives)
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

    @property
    def _certification(self) -> Certification:
        return Certification(self.room, self.registry, self.issuances, self.now, self.watch)

    def _ttl_of(self, registered: Registration | None) -> TtlPolicy:
        return self.ttl.of(None if registered is None else registered.ttl_seconds)


def _tenant(caller: Caller, secret: Secret) -> Tenant:
    """For whom a call waits. Replicas that start share one bootstrap credential, so that those that renew do
    not wait behind them."""
    return (secret.application.namespace, secret.application.service_account, str(caller.name))
