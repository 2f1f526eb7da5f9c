"""The attestor that checks tokens offline, against the issuer's published keys.

For local mode, and for a cluster agent outside of the cluster: it needs no right in the cluster, only the
issuer's key set (RFC 7517), which `kubectl get --raw /openid/v1/jwks` prints and many clusters publish.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any

import aiohttp
from joserfc import jwt
from joserfc.errors import ClaimError, JoseError
from joserfc.jwk import Key, KeySet
from joserfc.jws import JWSRegistry

from cluster_agent.attestation import AttestedPod, TokenRefused, attested_pod
from cluster_agent.errors import Unavailable

# Header parameters that nobody knows are ignored, unless they are said to be critical (RFC 7515, 4.1.11).
_SIGNATURES = JWSRegistry(algorithms=["RS256", "ES256"], strict_check_header=False)
_REFRESH_SECONDS = 30
# For all of the key set, however slowly it comes.
READ_SECONDS = 5.0


class KeySource:
    """The issuer's key set at `location`, by `read`; read again when a token names an unknown key.

    Not more often than every 30 s, so that forged key identifiers cause no storm of requests. Reading it may
    take `seconds`.
    """

    def __init__(
        self,
        location: str,
        read: Callable[[], Awaitable[str]],
        now: Callable[[], datetime],
        seconds: float = READ_SECONDS,
    ) -> None:
        self._location = location
        self._seconds = seconds
        self._document = read
        self._now = now
        self._keys: dict[str, Key] = {}
        self._read_at: datetime | None = None
        self._reading = asyncio.Lock()

    async def key(self, key_id: str) -> Key:
        """Raises TokenRefused for a key that the issuer does not have, Unavailable when it can't be asked."""
        if key_id not in self._keys:
            # Who comes while the key set is being read waits for it, and finds the key there.
            async with self._reading:
                if key_id not in self._keys and self._may_read():
                    self._read_at = self._now()
                    self._keys = await self._read()
        if not self._keys:
            raise Unavailable("KeySetUnavailable", f"the key set {self._location} could not be read yet")
        if key_id not in self._keys:
            raise TokenRefused(
                "TokenNotAuthenticated", "the token is signed by a key that its issuer does not have"
            )
        return self._keys[key_id]

    def _may_read(self) -> bool:
        return self._read_at is None or (self._now() - self._read_at).total_seconds() >= _REFRESH_SECONDS

    async def _read(self) -> dict[str, Key]:
        try:
            async with asyncio.timeout(self._seconds):
                document = await self._document()
            keys = KeySet.import_key_set(json.loads(document))
        except TimeoutError as error:
            raise Unavailable(
                "KeySetUnavailable", f"the key set {self._location} did not come within {self._seconds:g} s"
            ) from error
        except (aiohttp.ClientError, OSError, ValueError, LookupError, TypeError, JoseError) as error:
            raise Unavailable(
                "KeySetUnavailable", f"cannot read the key set {self._location}: {error}"
            ) from error
        return {key.kid: key for key in keys if key.kid is not None}


class JwksAttestor:
    """Accepts tokens of `issuer` for `audience` that are signed by one of its keys and in their time."""

    kind = "jwks"
    waiting = 0  # nobody is asked

    def __init__(self, keys: KeySource, *, issuer: str, audience: str, now: Callable[[], datetime]) -> None:
        self._keys = keys
        self._issuer = issuer
        self._audience = audience
        self._now = now
        # Times are compared below, with the clock that was passed in.
        self._claims = jwt.BaseClaimsRegistry(
            iss={"essential": True},
            aud={"essential": True, "value": audience},
            sub={"essential": True},
            exp={"essential": True},
        )

    async def attest(self, token: str) -> AttestedPod:
        try:
            key = await self._keys.key(_key_id(token.partition(".")[0]))
            claims = jwt.decode(token, key, registry=_SIGNATURES).claims
            self._claims.validate(claims)
        except ClaimError as error:
            if error.claim == "aud":
                raise TokenRefused(
                    "TokenOfOtherAudience", f"the token is not meant for {self._audience!r}"
                ) from error
            raise TokenRefused("TokenNotAuthenticated", f"the token does not hold: {error}") from error
        except (JoseError, ValueError) as error:
            raise TokenRefused("TokenNotAuthenticated", f"the token does not hold: {error}") from error
        if claims["iss"] != self._issuer:
            raise TokenRefused(
                "TokenNotAuthenticated",
                f"the token is not of {self._issuer!r}, it says {str(claims['iss'])[:300]!r}",
            )
        return pod_of_claims(claims, self._now())


# All tokens that are signed by one key have one header.
@lru_cache(maxsize=16)
def _key_id(encoded_header: str) -> str:
    """Which key the token says it is signed by, from its header alone: reading all of it takes as long as the
    check of its signature, which reads all of it anyway."""
    try:
        header = json.loads(base64.urlsafe_b64decode(encoded_header + "=="))
    except ValueError as error:
        raise TokenRefused("TokenNotAuthenticated", "the token is no JSON Web Token") from error
    return str(header.get("kid", "")) if isinstance(header, dict) else ""


def pod_of_claims(claims: Mapping[str, Any], now: datetime) -> AttestedPod:
    """What the claims of a token with a good signature prove at `now`. Raises TokenRefused."""
    expires, begins = claims.get("exp"), claims.get("nbf", claims.get("iat", 0))
    if not isinstance(expires, int | float) or not isinstance(begins, int | float):
        raise TokenRefused("TokenNotAuthenticated", "the token's times are no numbers")
    if not now.timestamp() < expires:  # NaN is a number
        raise TokenRefused("TokenExpired", "the token has expired; read it again from its file")
    if not now.timestamp() >= begins:
        raise TokenRefused("TokenNotYetValid", "the token is not valid yet; are the clocks right?")
    bound = claims.get("kubernetes.io")
    bound = bound if isinstance(bound, dict) else {}
    pod = bound.get("pod")
    pod = pod if isinstance(pod, dict) else {}
    return attested_pod(
        str(claims.get("sub", "")), pod.get("name"), pod.get("uid"), namespace=str(bound.get("namespace", ""))
    )
