"""What the targets begin with: the golden vectors, and what once crashed one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from blessings import Blessing, BlessingStore, Pattern
from blessings.jwt.keys import numbers_of
from pod_agent.envoy.secrets import TYPE_URL
from pod_agent.grpc.messages import bytes_field, text_field
from tests.fuzz.listeners import agent_protocol_seeds, workload_api_seeds
from tests.vectors.__main__ import FOLDER
from tests.vectors.making import principal

CRASHES = Path(__file__).parent / "crashes"
# (file, field) of the vectors whose spelling the target reads.
_FIELDS = {
    "name": ("names", "text"),
    "spiffe-id": ("names", "spiffeId"),
    "pattern": ("patterns", "pattern"),
    "permissions": ("access_lists", "permissions"),
    "caveat": ("caveats", "json"),
    "restrictions": ("caveats", "extension"),
    "pem-chain": ("chains", "chain"),
    "der-chain": ("chains", "chain"),
    "discharge": ("discharges", "discharge"),
    "discharge-request": ("discharges", "request"),
    "bundle": ("bundles", "bundle"),
    "public-key": ("signatures", "publicKey"),
}
_SEALED = {
    "version": 1,
    "kdf": "scrypt",
    "n": 131072,
    "r": 8,
    "p": 1,
    "salt": "AAAAAAAAAAAAAAAAAAAAAA==",
    "cipher": "AES-256-GCM",
    "nonce": "AAAAAAAAAAAAAAAA",
    "sealed": "AAAA",
}
_ENVOY_REQUEST = (
    text_field(1, "1")
    + bytes_field(2, text_field(1, "web-1"))
    + text_field(3, "default")
    + text_field(3, "ROOTCA")
    + text_field(4, TYPE_URL)
    + text_field(5, "1")
)


_MADE = {"agent-protocol": agent_protocol_seeds, "workload-api": workload_api_seeds}


def seeds(target: str) -> list[bytes]:
    """Each input once, in an order that is always the same."""
    made = _MADE[target]() if target in _MADE else _of_vectors(target)
    found = [*made, *(path.read_bytes() for path in sorted(CRASHES.glob(f"{target}-*")))]
    return list(dict.fromkeys(found))


def _of_vectors(target: str) -> list[bytes]:
    if target == "sealed-key":
        return [json.dumps(_SEALED).encode(), json.dumps({**_SEALED, "n": 2}).encode()]
    if target == "blessing-store":
        return [json.dumps(_store()).encode(), b'{"version":1,"default":"\\ud800","forPeers":[]}']
    if target == "envoy-request":
        return [_ENVOY_REQUEST, _ENVOY_REQUEST + bytes_field(6, text_field(2, "no key"))]
    if target == "jwt-svid":
        claims = {"sub": "spiffe://acme/web", "aud": ["db"], "exp": 4e9, "more": [None, True, {"a": 1.5}]}
        return [json.dumps(claims).encode(), json.dumps({**claims, "nbf": 1, "aud": "db"}).encode()]
    if target == "jwk":
        ec = numbers_of(principal("replica").public_key)
        rsa = {"kty": "RSA", "n": "_" * 342 + "w", "e": "AQAB", "alg": "PS256"}
        return [json.dumps({"kid": "k", **one}).encode() for one in (ec, rsa)]
    file, field = _FIELDS[target]
    vectors: list[dict[str, Any]] = json.loads((FOLDER / f"{file}.json").read_text())["vectors"]
    texts = [str(one[field]) for one in vectors if field in one]
    if target == "restrictions":
        return [bytes.fromhex(text) for text in texts]
    if target == "der-chain":
        return [Blessing.from_pem(text).to_der() for text in texts]
    spelled = [text.encode() for text in texts]
    if target == "public-key":
        key = principal("replica").public_key
        spelled.append(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))
    return spelled


def _store() -> dict[str, object]:
    vectors = json.loads((FOLDER / "chains.json").read_text())["vectors"]
    blessing = Blessing.from_pem(vectors[0]["chain"])
    return BlessingStore(blessing).with_peer(Pattern.parse("acme:db"), blessing).to_json()
