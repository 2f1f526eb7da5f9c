"""JWT-SVIDs for replicas, which present their certificate and a token of their Pod. No HTTP here.

A replica gets one for its own name, which its certificate proves, and for no other: the request names
audiences only. Every check comes before the signature, and the record before the answer.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from blessings import Name
from blessings.jwt.svid import claims_of, signed, wrong_audiences
from cluster_agent.attestation import TokenRefused, expired
from cluster_agent.audit import Record
from cluster_agent.callers import Caller
from cluster_agent.errors import BadRequest, Forbidden
from cluster_agent.issuing.replica_issuer import ReplicaIssuer
from cluster_agent.jwt.key_keeper import JwtKeyKeeper
from cluster_agent.store.jwt_svids import IssuedJwtSvids


@dataclass(frozen=True)
class IssuedJwtSvid:
    """A token that states `name`, and when it ends."""

    name: Name
    token: str
    not_after: datetime


@dataclass
class JwtSvidIssuer:
    """Issues JWT-SVIDs. `issuer_url` is their `iss`: where the keys are published for everybody."""

    replicas: ReplicaIssuer
    keys: JwtKeyKeeper
    issued: IssuedJwtSvids
    ttl: timedelta
    issuer_url: str
    now: Callable[[], datetime]

    async def issue(self, caller: Caller, audiences: Sequence[str], token: str) -> IssuedJwtSvid:
        """A JWT-SVID of the caller for these audiences. It ends with the caller's certificate or token, if
        that is earlier. Raises Refusal."""
        self.replicas.room.require_identity()
        secret, replica = await self.replicas.entitled_replica(caller)
        if wrong := wrong_audiences(audiences):
            raise BadRequest("InvalidAudiences", wrong)
        if caller.name.root != self.replicas.registry.prefix.root:
            # Verifiers trust the keys for the names of one trust domain.
            raise Forbidden("OtherTrustDomain", f"{caller.name} is not of this agent's trust domain")
        pod = await self.replicas.attested(caller, secret, replica, token)
        if pod.token_ends is None:
            raise TokenRefused("TokenWithoutEnd", "the service-account token states no end that can be read")
        now = self.now()
        not_after = min(now + self.ttl, caller.blessing.not_after, pod.token_ends).replace(microsecond=0)
        if not_after <= now:
            raise expired()
        key, token_id = self.keys.signing_key, secrets.token_hex(16)
        claims = claims_of(
            caller.name,
            audiences,
            issued_at=now,
            expires=not_after,
            token_id=token_id,
            issuer=self.issuer_url,
        )
        made = IssuedJwtSvid(caller.name, signed(claims, key), not_after)
        details = {
            "name": str(caller.name),
            "namespace": secret.application.namespace,
            "uid": replica.pod_uid,
            "secret": replica.secret_id,
            "audiences": " ".join(audiences),
            "jti": token_id,
            "key": self.keys.state.active.key_id,
            "notAfter": int(not_after.timestamp()),
        }
        await self.issued.add(replica, Record("jwt-svid-issued", now, str(caller.name), details))
        return made
