"""JWT-SVIDs: made, and verified.

    token = signed(claims_of(name, ["db"], issued_at=now, expires=then, token_id="5f…"), key)
    svid = verified(token, "db", {"spiffe://acme": key_set(jwks)}, now)     # svid.name: acme:web:web-1

A JWT-SVID is a bearer token: unlike a blessing, it proves its name to anyone who sees it, who may use it
towards its audience until it expires.
https://github.com/spiffe/spiffe/blob/main/standards/JWT-SVID.md; RFC 7515, RFC 7519
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from blessings.errors import InvalidJwt, InvalidKey, InvalidName
from blessings.jwt.encoding import base64url, from_base64url, json_object
from blessings.jwt.keys import JwtKey, key_id_of
from blessings.names import Name
from blessings.principal import Principal

MOST_TOKEN_CHARACTERS = 16 * 1024
# How far another machine's clock may be ahead, for a token that is not valid yet.
CLOCKS_DIFFER = timedelta(seconds=60)
MOST_AUDIENCES = 8
# An audience may be a SPIFFE ID.
MOST_AUDIENCE_CHARACTERS = 2048
# The token goes into headers, of which servers read 8 KiB.
MOST_CHARACTERS_IN_ALL = 4096
_TYPES = (None, "JWT", "JOSE")


@dataclass(frozen=True)
class JwtSvid:
    """What a verified token states."""

    name: Name
    claims: Mapping[str, Any]
    expires: datetime


def wrong_audiences(audiences: Sequence[str]) -> str | None:
    """What is wrong with these audiences of a JWT-SVID that is asked for; None when nothing is."""
    if not 0 < len(audiences) <= MOST_AUDIENCES or len(set(audiences)) != len(audiences):
        return f"1 to {MOST_AUDIENCES} different audiences are needed"
    if sum(map(len, audiences)) > MOST_CHARACTERS_IN_ALL or not all(
        0 < len(one) <= MOST_AUDIENCE_CHARACTERS and one.isascii() and one.isprintable() and " " not in one
        for one in audiences
    ):
        return (
            f"an audience is 1 to {MOST_AUDIENCE_CHARACTERS} printable ASCII characters without a space, and "
            f"all of them have {MOST_CHARACTERS_IN_ALL}"
        )
    return None


def claims_of(
    name: Name,
    audiences: Sequence[str],
    *,
    issued_at: datetime,
    expires: datetime,
    token_id: str,
    issuer: str = "",
) -> dict[str, object]:
    """The claims of a JWT-SVID; `issuer` is the URL at which its keys are published, if there is one."""
    claims: dict[str, object] = {
        "sub": name.spiffe_id,
        "aud": list(audiences),
        "exp": int(expires.timestamp()),
        "iat": int(issued_at.timestamp()),
        "jti": token_id,
    }
    return {**claims, "iss": issuer} if issuer else claims


def signed(claims: Mapping[str, object], principal: Principal) -> str:
    """The token with these claims, by ES256. Raises InvalidKey for a key on another curve than P-256."""
    key = principal.signing_key
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise InvalidKey("a JWT-SVID is signed with a key on P-256")
    header = {"alg": "ES256", "kid": key_id_of(principal.public_key), "typ": "JWT"}
    message = ".".join(base64url(json.dumps(one, separators=(",", ":")).encode()) for one in (header, claims))
    r, s = decode_dss_signature(key.sign(message.encode(), ec.ECDSA(hashes.SHA256())))
    return f"{message}.{base64url(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"


def verified(
    token: str, audience: str, bundles: Mapping[str, Mapping[str, JwtKey]], now: datetime
) -> JwtSvid:
    """What the token states, if it is a valid JWT-SVID for `audience`. `bundles` maps the SPIFFE ID of each
    trust domain to its keys, which are trusted for the names of this domain only. Raises InvalidJwt."""
    if len(token) > MOST_TOKEN_CHARACTERS:
        raise InvalidJwt(f"a token may have {MOST_TOKEN_CHARACTERS} characters, this one has {len(token)}")
    message, _, encoded_signature = token.rpartition(".")
    try:
        encoded_header, encoded_claims = message.split(".")
        header, claims = (json_object(from_base64url(one)) for one in (encoded_header, encoded_claims))
        signature = from_base64url(encoded_signature)
    except ValueError as error:
        # The error's text may contain parts of the token.
        raise InvalidJwt("this is no JSON Web Token in compact form") from error
    algorithm, key_id = header.get("alg"), header.get("kid")
    if "crit" in header or "b64" in header or header.get("typ") not in _TYPES:
        raise InvalidJwt("the token's header is not that of a JWT-SVID")
    if not isinstance(algorithm, str) or not isinstance(key_id, str):
        raise InvalidJwt("the token's header must have alg and kid")
    name = _subject(claims)
    keys = bundles.get(name.trust_domain)
    if keys is None:
        raise InvalidJwt("the token's trust domain is neither this one nor a federated one")
    key = keys.get(key_id)
    if key is None:
        raise InvalidJwt("the token is signed with a key that its trust domain does not have")
    if not key.is_signed(algorithm, message.encode(), signature):
        raise InvalidJwt("the token's signature is not by the key that it names, by an algorithm of this key")
    return JwtSvid(name, claims, _checked(claims, audience, now))


def _subject(claims: Mapping[str, Any]) -> Name:
    try:
        name = Name.from_spiffe_id(str(claims.get("sub")))
    except InvalidName as error:
        raise InvalidJwt("the token's sub is no SPIFFE ID") from error
    if len(name.components) < 2:
        raise InvalidJwt("the token's sub is a trust domain, not a workload")
    return name


def _checked(claims: Mapping[str, Any], audience: str, now: datetime) -> datetime:
    """The end of a token with a good signature. Raises InvalidJwt."""
    found = claims.get("aud")
    audiences = found if isinstance(found, list) else [found]
    if not audience or audience not in audiences:
        raise InvalidJwt("the token is not meant for this audience")
    expires, begins = _time(claims, "exp"), _time(claims, "nbf")
    if expires is None:
        raise InvalidJwt("the token has no exp")
    if now >= expires:
        raise InvalidJwt("the token has expired")
    if begins is not None and now < begins - CLOCKS_DIFFER:
        raise InvalidJwt("the token is not valid yet")
    return expires


def _time(claims: Mapping[str, Any], name: str) -> datetime | None:
    value = claims.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidJwt(f"the token's {name} is no number")
    try:
        return datetime.fromtimestamp(value, UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise InvalidJwt(f"the token's {name} is no time") from error
