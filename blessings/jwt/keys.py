"""The keys of JWT-SVIDs as JSON Web Keys (RFC 7517, RFC 7518 section 6).

A key verifies by the algorithms of its own kind only: a token's header chooses among these, and can never
make a public key the secret of an HMAC.
https://github.com/spiffe/spiffe/blob/main/standards/JWT-SVID.md, sections 2.1 and 4
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from blessings.errors import InvalidKey
from blessings.jwt.encoding import base64url, from_base64url
from blessings.keys import PublicKey, fingerprint

JWT_SVID = "jwt-svid"
MOST_KEY_ID_CHARACTERS = 256
# Of one trust domain: verifiers keep them all in memory.
MOST_KEYS = 32
_LEAST_RSA_BITS, _MOST_RSA_BITS = 2048, 8192
_HASHES: Mapping[str, Callable[[], hashes.SHA256 | hashes.SHA384 | hashes.SHA512]] = {
    "256": hashes.SHA256,
    "384": hashes.SHA384,
    "512": hashes.SHA512,
}
# RFC 7518, section 3.4: each curve has one hash.
_CURVES: Mapping[str, tuple[Callable[[], ec.EllipticCurve], str, int]] = {
    "P-256": (ec.SECP256R1, "ES256", 32),
    "P-384": (ec.SECP384R1, "ES384", 48),
    "P-521": (ec.SECP521R1, "ES512", 66),
}
_OF_RSA = frozenset(f"{family}{size}" for family in ("RS", "PS") for size in _HASHES)


@dataclass(frozen=True)
class JwtKey:
    """A public key, its identifier, and the algorithms that it may verify by."""

    key_id: str
    key: ec.EllipticCurvePublicKey | rsa.RSAPublicKey
    algorithms: frozenset[str]

    @classmethod
    def of(cls, jwk: Mapping[str, object]) -> JwtKey:
        """The key in a JWK. Raises InvalidKey for one without an identifier, with a private or secret part,
        or of a kind, curve or size that is not accepted."""
        key_id = jwk.get("kid")
        if not isinstance(key_id, str) or not 0 < len(key_id) <= MOST_KEY_ID_CHARACTERS:
            raise InvalidKey(f"kid must be a text of 1 to {MOST_KEY_ID_CHARACTERS} characters")
        if secret := {"d", "k", "p", "q", "dp", "dq", "qi", "oth"} & jwk.keys():
            raise InvalidKey(f"the key {key_id!r} has the member {min(secret)!r}, which is secret")
        try:
            key, algorithms = _ec(jwk) if jwk.get("kty") == "EC" else _rsa(jwk)
        except ValueError as error:
            raise InvalidKey(f"the key {key_id!r} cannot be used: {error}") from error
        if (stated := jwk.get("alg")) is not None:
            algorithms &= {str(stated)}
        if not algorithms:
            raise InvalidKey(f"the key {key_id!r} is not of the kind that its alg states")
        return cls(key_id, key, algorithms)

    def is_signed(self, algorithm: str, message: bytes, signature: bytes) -> bool:
        """Whether this key made the signature, by an algorithm that it may be used with."""
        if algorithm not in self.algorithms:
            return False
        chosen = _HASHES[algorithm[2:]]()
        try:
            if isinstance(self.key, ec.EllipticCurvePublicKey):
                length = (self.key.curve.key_size + 7) // 8
                if len(signature) != 2 * length:
                    return False
                r, s = (int.from_bytes(part) for part in (signature[:length], signature[length:]))
                self.key.verify(encode_dss_signature(r, s), message, ec.ECDSA(chosen))
            elif algorithm.startswith("PS"):
                pss = padding.PSS(padding.MGF1(chosen), chosen.digest_size)
                self.key.verify(signature, message, pss, chosen)
            else:
                self.key.verify(signature, message, padding.PKCS1v15(), chosen)
        except InvalidSignature:
            return False
        return True


def key_set(jwks: Iterable[Mapping[str, object]]) -> dict[str, JwtKey]:
    """The keys by their identifiers. Raises InvalidKey also for more than MOST_KEYS, and for an identifier
    that two of them have."""
    found: dict[str, JwtKey] = {}
    for jwk in jwks:
        one = JwtKey.of(jwk)
        if one.key_id in found:
            raise InvalidKey(f"two keys have the kid {one.key_id!r}")
        found[one.key_id] = one
        if len(found) > MOST_KEYS:
            raise InvalidKey(f"a trust domain may have {MOST_KEYS} keys for JWT-SVIDs")
    return found


def key_id_of(key: PublicKey) -> str:
    """The identifier of a key of ours: the first 128 bits of its fingerprint, in hex."""
    return fingerprint(key).replace(":", "")[:32]


def numbers_of(key: PublicKey) -> dict[str, str]:
    """The members of a JWK that encode the key (RFC 7518, section 6.2; RFC 8037, section 2)."""
    if isinstance(key, ec.EllipticCurvePublicKey):
        point = key.public_numbers()
        x, y = point.x.to_bytes(32, "big"), point.y.to_bytes(32, "big")
        return {"kty": "EC", "crv": "P-256", "x": base64url(x), "y": base64url(y)}
    assert isinstance(key, ed25519.Ed25519PublicKey)  # noqa: S101 - for mypy; there is no third kind
    return {"kty": "OKP", "crv": "Ed25519", "x": base64url(key.public_bytes(Encoding.Raw, PublicFormat.Raw))}


def _ec(jwk: Mapping[str, object]) -> tuple[ec.EllipticCurvePublicKey, frozenset[str]]:
    named = jwk.get("crv")
    if not isinstance(named, str) or named not in _CURVES:
        raise ValueError("its curve is none of " + ", ".join(_CURVES))
    curve, algorithm, length = _CURVES[named]
    x, y = _bytes(jwk, "x"), _bytes(jwk, "y")
    if len(x) != length or len(y) != length:
        raise ValueError(f"x and y must have {length} bytes each")
    # Raises ValueError for a point that is not on the curve.
    numbers = ec.EllipticCurvePublicNumbers(int.from_bytes(x), int.from_bytes(y), curve())
    return numbers.public_key(), frozenset({algorithm})


def _rsa(jwk: Mapping[str, object]) -> tuple[rsa.RSAPublicKey, frozenset[str]]:
    if jwk.get("kty") != "RSA":
        raise ValueError("its kty must be EC or RSA")
    n, e = _bytes(jwk, "n"), _bytes(jwk, "e")
    if len(e) > 4 or not _LEAST_RSA_BITS <= int.from_bytes(n).bit_length() <= _MOST_RSA_BITS:
        raise ValueError(f"it must have {_LEAST_RSA_BITS} to {_MOST_RSA_BITS} bits, and a small exponent")
    return rsa.RSAPublicNumbers(int.from_bytes(e), int.from_bytes(n)).public_key(), _OF_RSA


def _bytes(jwk: Mapping[str, object], member: str) -> bytes:
    text = jwk.get(member)
    if not isinstance(text, str):
        raise ValueError(f"it has no {member}")  # noqa: TRY004 - malformed like the rest
    return from_base64url(text)
