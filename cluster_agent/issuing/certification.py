"""The certification of a replica: signature and durable record. What may be signed is decided before.

SeekBlessings and PodCertificateRequests end here, so that a replica's certificate, its limits and its record
in the audit do not depend on how the replica asked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from blessings import Blessing, Name, PublicKey, fingerprint
from cluster_agent.audit import Record
from cluster_agent.callers import certificate_fingerprint
from cluster_agent.errors import TooManyCertificates
from cluster_agent.issuing.stages import IssuanceWatch
from cluster_agent.model import Issuance, IssuedCertificate, PodRequestAnswer, Secret
from cluster_agent.registry.registry import Registration, Registry
from cluster_agent.signing.room import SigningRoom
from cluster_agent.store import MOST_LIVE_OF_POD, MOST_OF_FULL_LIFE
from cluster_agent.store.issuances import Issuances


@dataclass(frozen=True)
class IssuedBlessing:
    """A replica's new blessing. `renew_at` is after half of its life, without the replica's jitter."""

    name: Name
    blessing: Blessing
    renew_at: datetime


@dataclass(frozen=True)
class Replica:
    """The pod to certify, the secret that entitles it, and the key to certify. `caller` is the proven name
    that asks, or empty; `details` are further ones for the record in the audit."""

    caller: str
    secret: Secret
    pod_name: str
    pod_uid: str
    key: PublicKey
    details: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Lives:
    """The life of a certificate, and the life of those that a pod gets beyond MOST_OF_FULL_LIFE."""

    full: timedelta
    shortest: timedelta


Answer = Callable[[IssuedBlessing], PodRequestAnswer]


@dataclass(frozen=True)
class Certification:
    """Signs and records replica blessings."""

    room: SigningRoom
    registry: Registry
    issuances: Issuances
    now: Callable[[], datetime]
    watch: IssuanceWatch

    async def certify(
        self,
        replica: Replica,
        registered: Registration | None,
        lives: Lives,
        answer: Answer | None = None,
    ) -> IssuedBlessing:
        """The replica's blessing, recorded in the same transaction as the `answer` that contains it, if there
        is one. Raises Refusal, also one of `answer`; nothing is recorded then."""
        sign = partial(self._sign_and_record, replica, registered, self.now(), answer)
        try:
            return await sign(lives.full, most_live=MOST_OF_FULL_LIFE)
        except TooManyCertificates:
            return await sign(lives.shortest, most_live=MOST_LIVE_OF_POD)

    async def _sign_and_record(
        self,
        replica: Replica,
        registered: Registration | None,
        now: datetime,
        answer: Answer | None,
        ttl: timedelta,
        *,
        most_live: int,
    ) -> IssuedBlessing:
        application = self.registry.name(replica.secret.application, registered)
        dns_names = () if registered is None else registered.dns_names
        if registered is not None and registered.chain is not None:
            sign = partial(self.room.sign_granted, registered.chain)
        else:
            sign = partial(self.room.sign_replica, application)
        with self.watch.stage("signing"):
            blessing = sign(replica.pod_name, replica.key, now=now, ttl=ttl, dns_names=dns_names)
        issuance = Issuance(
            certificate_fingerprint=certificate_fingerprint(blessing),
            secret_id=replica.secret.id,
            pod_name=replica.pod_name,
            pod_uid=replica.pod_uid,
            public_key_fingerprint=fingerprint(replica.key),
            not_after=blessing.not_after,
            certificate=_certificate(blessing),
        )
        issued = IssuedBlessing(
            application.extend(replica.pod_name), blessing, _half_way(now, blessing.not_after)
        )
        answered = None if answer is None else answer(issued)
        record = _issued(replica, issued.name, issuance, dns_names, now)
        with self.watch.stage("store"):
            await self.issuances.add(issuance, record, now=now, most_live=most_live, answer=answered)
        return issued


def _certificate(blessing: Blessing) -> IssuedCertificate:
    issuer = blessing.facts(1)
    return IssuedCertificate(
        serial=f"{blessing.leaf.serial_number:x}",
        issuer=str(issuer.name),
        issuing_key=issuer.key_fingerprint,
        issuer_not_after=issuer.not_after,
    )


def _issued(
    replica: Replica, name: Name, issuance: Issuance, dns_names: Sequence[str], now: datetime
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
    return Record("blessing-issued", now, replica.caller, {**details, **replica.details})


def _half_way(begin: datetime, end: datetime) -> datetime:
    return begin + max((end - begin) / 2, timedelta(0))
