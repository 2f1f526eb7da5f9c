"""What SPIFFE clients verify with beside the identity roots: the JWT keys of the own trust domain, and the
bundles of other ones. The agent protocol, and what this program itself trusts, do not use them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding

from blessings import Name, TrustBundle
from blessings.jwt.keys import JwtKey, key_set


@dataclass(frozen=True)
class TrustBundles:
    """By the SPIFFE ID of the trust domain: `roots` of other ones, concatenated DER, and `jwt_keys` of all,
    JWK Sets."""

    roots: Mapping[str, bytes] = field(default_factory=dict)
    jwt_keys: Mapping[str, bytes] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        own: str,
        jwt_keys: Sequence[Mapping[str, object]] | None,
        federated: Mapping[str, Mapping[str, Any]],
    ) -> TrustBundles:
        """The bundles as the cluster agent publishes them; `own` is a trust domain's SPIFFE ID, and
        `jwt_keys` are its keys, None when they are not known. A federated bundle of the own trust domain is
        left out. Raises BlessingsError."""
        roots: dict[str, bytes] = {}
        keys: dict[str, bytes] = {} if jwt_keys is None else {own: _jwks(jwt_keys)}
        for domain, value in federated.items():
            bundle = TrustBundle.from_value(value, Name.parse(domain))
            foreign = bundle.trust_domain.trust_domain
            if foreign == own:
                continue
            if bundle.certificates:
                roots[foreign] = b"".join(one.public_bytes(Encoding.DER) for one in bundle.certificates)
            if bundle.jwt_keys:
                keys[foreign] = _jwks(bundle.jwt_keys)
        return cls(roots, keys)

    @cached_property
    def verifying_keys(self) -> Mapping[str, Mapping[str, JwtKey]]:
        """The keys, read when the first token is validated."""
        return {domain: key_set(json.loads(jwks)["keys"]) for domain, jwks in self.jwt_keys.items()}


def _jwks(keys: Sequence[Mapping[str, object]]) -> bytes:
    key_set(keys)  # raises InvalidKey for what clients could not read
    return json.dumps({"keys": list(keys)}, separators=(",", ":")).encode()
