"""The offline attestor, which checks tokens against the issuer's published keys.

For local mode, and for a cluster agent outside of the cluster: it needs no rights in the cluster, only the
issuer's key set (RFC 7517), which `kubectl get --raw /openid/v1/jwks` prints and many clusters publish.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jws import JWSRegistry

from cluster_agent.attestation import (
    AttestedPod,
    TokenRefused,
    attested_pod,
    end_of,
    expired,
    not_yet_valid,
)
from cluster_agent.attestation.key_source import KeySource
from cluster_agent.fair_queue import Tenant

# The issuer's clock is another machine's. The API server itself allows as much.
LEEWAY = timedelta(seconds=60)
# Unknown header parameters are ignored (RFC 7515, section 4); critical ones are refused below.
_SIGNATURES = JWSRegistry(algorithms=["RS256", "ES256"], strict_check_header=False)
# The library's own limits, 512 and 1024, have no room for an identifier of 1024 characters, or for an RSA key
# of 8192 bits.
_SIGNATURES.max_header_length = 4096
_SIGNATURES.max_signature_length = 2048


class JwksAttestor:
    """Accepts tokens of `issuer` for `audience` that one of its keys signed and that are valid, give
    or take LEEWAY."""

    kind = "jwks"

    def __init__(self, keys: KeySource, *, issuer: str, audience: str, now: Callable[[], datetime]) -> None:
        self._keys = keys
        self._issuer = issuer
        self._audience = audience
        self._now = now

    @property
    def waiting(self) -> int:
        return self._keys.waiting

    async def attest(self, token: str, tenant: Tenant = ()) -> AttestedPod:
        key = await self._keys.key(_key_id(token.partition(".")[0]), tenant)
        try:
            claims = jwt.decode(token, key, registry=_SIGNATURES).claims
        except (JoseError, ValueError, TypeError, RecursionError) as error:
            # The error's text may contain the client's input, which belongs into no log and no Event.
            raise TokenRefused(
                "TokenNotAuthenticated", "the token is malformed, or not signed by its issuer's key"
            ) from error
        check_addressed(claims, self._issuer, self._audience)
        return pod_of_claims(claims, self._now())


# Tokens that one key signed all have the same header.
@lru_cache(maxsize=16)
def _key_id(encoded_header: str) -> str:
    """The identifier of the key that the token claims to be signed by.

    It comes from the header alone, because decoding the whole token here would take as long as the check of
    its signature, which decodes it anyway. Raises TokenRefused when there is no header, or when it changes
    the meaning of the rest (RFC 7515, section 4.1.11, RFC 7797): no issuer sends such a header, and this code
    does not support it.
    """
    try:
        header = json.loads(base64.urlsafe_b64decode(encoded_header + "=="))
    except (ValueError, RecursionError) as error:
        raise TokenRefused("TokenNotAuthenticated", "the token is not a JSON Web Token") from error
    if not isinstance(header, dict) or "crit" in header or "b64" in header:
        raise TokenRefused(
            "TokenNotAuthenticated", "the token's header is not that of a service account's token"
        )
    return str(header.get("kid", ""))


def check_addressed(claims: Mapping[str, Any], issuer: str, audience: str) -> None:
    """Checks that a token with a good signature is from `issuer` and for `audience` (RFC 7519, sections 4.1.1
    and 4.1.3). Raises TokenRefused."""
    named = claims.get("iss")
    if named != issuer:
        raise TokenRefused(
            "TokenNotAuthenticated", f"the token's issuer must be {issuer!r}, it is {str(named)[:300]!r}"
        )
    found = claims.get("aud")
    audiences = found if isinstance(found, list) else [found]
    if audience not in audiences or not all(isinstance(one, str) for one in audiences):
        raise TokenRefused("TokenOfOtherAudience", f"the token is not meant for {audience!r}")


def pod_of_claims(claims: Mapping[str, Any], now: datetime) -> AttestedPod:
    """The pod that the claims of a token with a good signature prove at `now`. Raises TokenRefused."""
    expires, begins = claims.get("exp"), claims.get("nbf", claims.get("iat", 0))
    if not isinstance(expires, int | float) or not isinstance(begins, int | float):
        raise TokenRefused("TokenNotAuthenticated", "the token's times are not numbers")
    leeway = LEEWAY.total_seconds()
    if not now.timestamp() < expires + leeway:  # also refuses NaN, which is a number
        raise expired()
    if not now.timestamp() >= begins - leeway:
        raise not_yet_valid()
    bound = claims.get("kubernetes.io")
    bound = bound if isinstance(bound, dict) else {}
    pod = bound.get("pod")
    pod = pod if isinstance(pod, dict) else {}
    found = attested_pod(
        str(claims.get("sub", "")), pod.get("name"), pod.get("uid"), namespace=str(bound.get("namespace", ""))
    )
    return replace(found, token_ends=end_of(claims))
