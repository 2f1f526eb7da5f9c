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
from blessings.jwt.svid import claims_of, signed
from cluster_agent.attestation import TokenRefused, expired
from cluster_agent.audit import Record
from cluster_agent.callers import Caller
from cluster_agent.errors import BadRequest, Forbidden
from cluster_agent.issuing.replica_issuer import ReplicaIssuer
from cluster_agent.jwt.key_keeper import JwtKeyKeeper
from cluster_agent.store.jwt_svids import IssuedJwtSvids

MOST_AUDIENCES = 8
# An audience may be a SPIFFE ID.
MOST_AUDIENCE_CHARACTERS = 2048
# The token goes into headers, of which servers read 8 KiB.
MOST_CHARACTERS_IN_ALL = 4096


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
        _check_audiences(audiences)
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
            "uid": replica.pod_uid,
            "secret": replica.secret_id,
            "audiences": " ".join(audiences),
            "jti": token_id,
            "key": self.keys.state.active.key_id,
            "notAfter": int(not_after.timestamp()),
        }
        await self.issued.add(replica, Record("jwt-svid-issued", now, str(caller.name), details))
        return made


def _check_audiences(audiences: Sequence[str]) -> None:
    """Raises BadRequest for none, too many, or too long ones."""
    if not 0 < len(audiences) <= MOST_AUDIENCES or len(set(audiences)) != len(audiences):
        raise BadRequest("InvalidAudiences", f"1 to {MOST_AUDIENCES} different audiences are needed")
    if sum(map(len, audiences)) > MOST_CHARACTERS_IN_ALL or not all(
        0 < len(one) <= MOST_AUDIENCE_CHARACTERS and one.isascii() and one.isprintable() and " " not in one
        for one in audiences
    ):
        raise BadRequest(
            "InvalidAudiences",
            f"an audience is 1 to {MOST_AUDIENCE_CHARACTERS} printable ASCII characters without a space, and "
            f"all of them have {MOST_CHARACTERS_IN_ALL}",
        )
