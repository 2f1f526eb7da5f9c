"""Federation: the roots of a trust domain in SPIFFE's bundle format, a JWK Set.

    bundle = TrustBundle.parse(text, Name.parse("partner"))
    roots = own_roots + bundle.roots          # each trusted for `partner` and its extensions only

The format does not state which trust domain a bundle belongs to. The administrator who imports it states
that, and its roots are trusted for that domain only. Keys for other uses than x509-svid and jwt-svid are
ignored, as the format demands.

Sources: https://github.com/spiffe/spiffe/blob/main/standards/SPIFFE_Trust_Domain_and_Bundle.md (section 4),
X509-SVID.md (section 6), RFC 7517, RFC 8037.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from blessings.encoding.chains import parse_der
from blessings.errors import InvalidBundle, InvalidCertificate
from blessings.jwt.keys import numbers_of
from blessings.names import Name
from blessings.patterns import Pattern
from blessings.profile import reader
from blessings.profile.fields import Role, public_key_of
from blessings.roots import Root, Roots

MAX_BYTES = 1024 * 1024
_X509_SVID, _JWT_SVID = "x509-svid", "jwt-svid"


@dataclass(frozen=True)
class TrustBundle:
    """A trust domain's root certificates, and the keys of its JWTs, unchanged.

    `sequence` grows with each change, `refresh_hint` is in seconds; each is None where the bundle lacks it.
    """

    trust_domain: Name
    certificates: tuple[x509.Certificate, ...]
    sequence: int | None = None
    refresh_hint: int | None = None
    jwt_keys: tuple[Mapping[str, object], ...] = field(default=(), hash=False)

    def __post_init__(self) -> None:
        if len(self.trust_domain.components) != 1:
            raise InvalidBundle(f"a trust domain is one component, got {str(self.trust_domain)!r}")

    @property
    def roots(self) -> Roots:
        """The bundle's roots, each trusted for names of this trust domain only."""
        pattern = Pattern(self.trust_domain)
        return Roots(tuple(Root(certificate, pattern) for certificate in self.certificates))

    @classmethod
    def of(
        cls, roots: Roots, trust_domain: Name, *, sequence: int | None = None, refresh_hint: int | None = None
    ) -> TrustBundle:
        """A bundle to give to others, with those of `roots` that are trusted for all of `trust_domain`.

        A root that is trusted for a part of it only is left out, since the format cannot express that.
        """
        whole = (root.certificate for root in roots if _covers(root.pattern, trust_domain))
        return cls(trust_domain, tuple(whole), sequence, refresh_hint)

    @classmethod
    def parse(cls, text: str | bytes, trust_domain: Name) -> TrustBundle:
        """The bundle in a JSON text of at most 1 MiB. Raises InvalidBundle, which names the key and its
        field."""
        if len(text) > MAX_BYTES:
            raise InvalidBundle(f"the bundle has {len(text)} bytes, at most {MAX_BYTES} are read")
        try:
            value: object = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise InvalidBundle(f"the bundle is no JSON: {type(error).__name__}") from error
        return cls.from_value(value, trust_domain)

    @classmethod
    def from_value(cls, value: object, trust_domain: Name) -> TrustBundle:
        """The inverse of `to_value`. Raises InvalidBundle."""
        if not isinstance(value, dict) or not isinstance(value.get("keys"), list):
            raise InvalidBundle("a bundle is an object with a list `keys`")
        certificates: list[x509.Certificate] = []
        jwt_keys: list[Mapping[str, object]] = []
        for position, key in enumerate(value["keys"]):
            where = f"keys[{position}]"
            if not isinstance(key, dict):
                raise InvalidBundle(f"{where} must be an object, got {key!r:.100}")
            if key.get("use") == _X509_SVID:
                certificates.append(_certificate(key, where, trust_domain))
            elif key.get("use") == _JWT_SVID:
                jwt_keys.append(key)
        return cls(
            trust_domain,
            tuple(certificates),
            _whole_number(value, "spiffe_sequence"),
            _whole_number(value, "spiffe_refresh_hint"),
            tuple(jwt_keys),
        )

    def to_value(self) -> dict[str, object]:
        """The JWK Set; each X.509 key has its self-signed certificate in `x5c`. Raises InvalidKey."""
        made: dict[str, object] = {
            "keys": [*(_jwk(certificate) for certificate in self.certificates), *self.jwt_keys]
        }
        if self.sequence is not None:
            made["spiffe_sequence"] = self.sequence
        if self.refresh_hint is not None:
            made["spiffe_refresh_hint"] = self.refresh_hint
        return made

    def to_json(self) -> str:
        return json.dumps(self.to_value(), indent=2)


def _covers(pattern: Pattern, trust_domain: Name) -> bool:
    return pattern.name is None or (pattern.name == trust_domain and not pattern.exact)


def _certificate(key: dict[str, object], where: str, trust_domain: Name) -> x509.Certificate:
    chain = key.get("x5c")
    if not isinstance(chain, list) or len(chain) != 1 or not isinstance(chain[0], str):
        raise InvalidBundle(f"{where}.x5c must have exactly one certificate")
    try:
        certificate = parse_der(base64.b64decode(chain[0], validate=True))
        facts = reader.read_root(certificate)
    except InvalidCertificate as error:
        raise InvalidBundle(f"{where}.x5c: {error}") from error
    except ValueError as error:
        raise InvalidBundle(f"{where}.x5c is not base64: {error}") from error
    if facts.role is not Role.SIGNER:
        raise InvalidBundle(f"{where}.x5c must be a root, it is a {facts.role}")
    if isinstance(facts, reader.NamedFacts) and facts.name.root != trust_domain:
        raise InvalidBundle(f"{where}.x5c must be a certificate of {trust_domain}, it is one of {facts.name}")
    numbers = numbers_of(facts.public_key)
    if wrong := [name for name, number in numbers.items() if key.get(name) != number]:
        raise InvalidBundle(f"{where}.{wrong[0]} differs from the key of the certificate in x5c")
    return certificate


def _jwk(certificate: x509.Certificate) -> dict[str, object]:
    return {
        "use": _X509_SVID,
        **numbers_of(public_key_of(certificate)),
        "x5c": [base64.b64encode(certificate.public_bytes(Encoding.DER)).decode()],
    }


def _whole_number(value: dict[str, object], key: str) -> int | None:
    number = value.get(key)
    if number is None:
        return None
    if isinstance(number, bool) or not isinstance(number, int) or number < 0:
        raise InvalidBundle(f"{key} must be a whole number, got {number!r:.100}")
    return number
