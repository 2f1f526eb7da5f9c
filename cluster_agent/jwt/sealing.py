"""The JWT keys in the store, encrypted and authenticated under the issuing key.

Every replica of the agent on a database has the same issuing key and nothing else in common that it may
write, so the store is where they agree on keys that nobody has to distribute. Reading the database gives no
key; writing to it makes none. An attacker with the issuing key could sign any replica's chain already.
"""

from __future__ import annotations

import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from blessings import BlessingsError, Principal
from cluster_agent.errors import StoreError

_PURPOSE = b"vanadium cluster agent, JWT signing keys, version 1"
_NONCE_BYTES = 12


def seal(key: Principal, key_id: str, issuing: Principal) -> str:
    """The private key in hex, for this identifier and this issuing key."""
    nonce = os.urandom(_NONCE_BYTES)
    return (nonce + _cipher(issuing).encrypt(nonce, key.to_pem(), key_id.encode())).hex()


def unseal(sealed: str, key_id: str, issuing: Principal) -> Principal:
    """The inverse of `seal`. Raises StoreError."""
    try:
        data = bytes.fromhex(sealed)
        pem = _cipher(issuing).decrypt(data[:_NONCE_BYTES], data[_NONCE_BYTES:], key_id.encode())
        return Principal.from_pem(pem)
    except (InvalidTag, ValueError, BlessingsError) as error:
        raise StoreError(f"the JWT key {key_id} in the store cannot be read; restore the store") from error


def _cipher(issuing: Principal) -> AESGCM:
    key = issuing.signing_key
    if isinstance(key, ec.EllipticCurvePrivateKey):
        secret = key.private_numbers().private_value.to_bytes(32, "big")
    else:
        secret = key.private_bytes_raw()
    return AESGCM(HKDF(SHA256(), 32, salt=None, info=_PURPOSE).derive(secret))
