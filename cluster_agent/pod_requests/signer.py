"""The signer: from a PodCertificateRequest to its status. It decides; it does not write to the API server.

Every check comes before the signature, and the status is recorded with the certificate in it, so that a
replica of the agent that ends in between, or another one, sets the same status later.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from blessings import PublicKey
from cluster_agent.audit import Record
from cluster_agent.errors import BadRequest, Forbidden, Refusal, SecretForgotten, Unavailable
from cluster_agent.issuing.certification import Certification, IssuedBlessing, Lives, Replica
from cluster_agent.issuing.checks import require
from cluster_agent.issuing.stages import IssuanceWatch, NobodyWatches
from cluster_agent.issuing.ttl_policy import TtlPolicy
from cluster_agent.kubernetes.pod_requests import VouchingPod
from cluster_agent.model import Application, PodRequestAnswer, Secret
from cluster_agent.pod_requests import checks, status
from cluster_agent.pod_requests.checks import Vouched, life, requested_key
from cluster_agent.pod_requests.request import PodRequest
from cluster_agent.registry.registry import Registry
from cluster_agent.signing.room import SigningRoom
from cluster_agent.store.entitlements import Entitlements
from cluster_agent.store.issuances import Issuances

# Refusals that an administrator can repair while the request waits: a Denied request is asked no second time.
_REPAIRABLE = frozenset({"RegistrationInvalid", "NotGranted"})


class Vouching(Protocol):
    """What the API server knows. Every call may raise Unavailable."""

    async def is_labelled(self, namespace: str) -> bool: ...

    async def service_account_uid(self, namespace: str, name: str, asked: str) -> str | None: ...

    async def pod(self, namespace: str, name: str) -> VouchingPod | None: ...


def is_final(refusal: Refusal) -> bool:
    """Whether the request is to be Denied. Otherwise it is answered later, within its life."""
    return isinstance(refusal, BadRequest | Forbidden) and refusal.reason not in _REPAIRABLE


@dataclass(frozen=True)
class Answer:
    """The status for a request, as JSON, and the Pod that it is for."""

    status: str
    pod: VouchingPod


@dataclass
class PodRequestSigner:
    """Signs for the pods that requests name. `label` is what namespaces with identities have."""

    room: SigningRoom
    registry: Registry
    entitlements: Entitlements
    issuances: Issuances
    vouchers: Vouching
    label: tuple[str, str]
    ttl: TtlPolicy
    now: Callable[[], datetime]
    watch: IssuanceWatch = field(default_factory=NobodyWatches)

    async def answer(self, request: PodRequest, *, replaces: bool = False) -> Answer:
        """The status for the request, recorded with its certificate. `replaces`: an earlier status
        was recorded that the API server no longer accepts. Raises Refusal."""
        self.room.require_identity()
        checks.require_no_annotations(request)
        key = requested_key(request.csr)
        if key in self.room.public_keys:
            raise BadRequest("KeyOfTheAgent", "the request is for a key of the cluster agent")
        with self.watch.stage("attestation"):
            pod = await self._vouched(request)
        application = Application(request.namespace, request.service_account)
        self.watch.is_for(application)
        with self.watch.stage("entitlement"):
            entitlement = await self._entitlement(application)
        try:
            return Answer(await self._certify(request, entitlement, key, replaces=replaces), pod)
        except SecretForgotten:
            # Revoked a moment ago, or revoked and reinstated: the next try knows.
            raise Unavailable("EntitlementChanged", f"{application} was revoked or renamed; again") from None

    async def _vouched(self, request: PodRequest) -> VouchingPod:
        """The Pod. Raises Forbidden for a request that the objects in the API server do not vouch for."""
        namespace = request.namespace
        labelled = await self.vouchers.is_labelled(namespace)
        checks.require_labelled(request, self.label, labelled=labelled)
        pod = await self.vouchers.pod(namespace, request.pod_name)
        account_uid = await self.vouchers.service_account_uid(
            namespace, request.service_account, request.service_account_uid
        )
        require(checks.VOUCHED, Vouched(request, pod, account_uid, self.now()))
        if pod is None:
            raise TypeError("the checks accepted a request without a pod")
        return pod

    async def _entitlement(self, application: Application) -> Secret:
        """Raises Forbidden for a revoked application."""
        found = await self.entitlements.of(application)
        if found is not None:
            return found
        name, now = await self.registry.name_of(application), self.now()
        record = Record("entitlement-made", now, details={"application": str(name)})
        if not await self.entitlements.make(application, now, record):
            raise Forbidden(
                "ApplicationRevoked", f"{name} was revoked; it gets no certificate until it is reinstated"
            )
        found = await self.entitlements.of(application)
        if found is None:
            raise Unavailable("EntitlementChanged", f"{name} was revoked or renamed a moment ago; again")
        return found

    async def _certify(
        self, request: PodRequest, entitlement: Secret, key: PublicKey, *, replaces: bool
    ) -> str:
        application = entitlement.application
        registered = await self.registry.of(application)
        policy = self.ttl.of(None if registered is None else registered.ttl_seconds).default
        ttl = life(request, policy)
        made: list[str] = []

        def answer(blessed: IssuedBlessing) -> PodRequestAnswer:
            made.append(status.issued(blessed.blessing, blessed.renew_at, self.now()))
            return PodRequestAnswer(request.uid, made[-1], replaces)

        certification = Certification(self.room, self.registry, self.issuances, self.now, self.watch)
        # No client proved a name here: the node asked, for a pod of its own.
        details = {"podCertificateRequest": request.uid, "node": request.node}
        replica = Replica("", entitlement, request.pod_name, request.pod_uid, key, details)
        lives = Lives(ttl, min(ttl, checks.SHORTEST_LIFE))
        issued = await certification.certify(replica, registered, lives, answer)
        self.watch.issued(issued.name)
        return made[-1]
