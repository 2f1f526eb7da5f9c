"""A private key encrypted under a passphrase: scrypt (RFC 7914), then AES-256-GCM.

PKCS #8 or PKCS #12 would do if `cryptography` let us choose the rounds: it uses 2048 rounds of PBKDF2, which
protects no passphrase that a person can remember. Here each guess costs 128 MiB and some tenths of a second.

    {"version": 1, "kdf": "scrypt", "n": 131072, "r": 8, "p": 1, "salt", "cipher": "AES-256-GCM", "nonce",
     "sealed"}                                      salt, nonce and sealed are in base64

Everything but `sealed` is authenticated together with it, as canonical JSON.
"""

from __future__ import annotations

import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from blessings.encoding import canonical
from blessings.encoding.canonical import JSON
from blessings.encoding.fields import Fields, spell_bytes
from blessings.errors import InvalidCaveat, InvalidKey

VERSION = 1
_KDF, _CIPHER = "scrypt", "AES-256-GCM"
# OWASP's recommendation for scrypt, 128 * n * r bytes of memory.
_N, _R, _P = 2**17, 8, 1
_SALT_BYTES, _NONCE_BYTES, _KEY_BYTES = 16, 12, 32
_FIELDS = ("version", "kdf", "n", "r", "p", "salt", "cipher", "nonce", "sealed")


def seal(content: bytes, passphrase: bytes) -> bytes:
    """`content` encrypted under the passphrase, as JSON, with salt and nonce from the system's randomness."""
    salt, nonce = os.urandom(_SALT_BYTES), os.urandom(_NONCE_BYTES)
    header: dict[str, JSON] = {
        "version": VERSION,
        "kdf": _KDF,
        "n": _N,
        "r": _R,
        "p": _P,
        "salt": spell_bytes(salt),
        "cipher": _CIPHER,
        "nonce": spell_bytes(nonce),
    }
    sealed = AESGCM(_key(passphrase, salt)).encrypt(nonce, content, canonical.encode(header))
    return canonical.encode({**header, "sealed": spell_bytes(sealed)})


def unseal(data: bytes, passphrase: bytes) -> bytes:
    """The inverse of `seal`. Raises InvalidKey for a wrong passphrase, changed bytes, or another format.

    Other scrypt parameters than ours are refused: only an attacker would have written weaker ones, and
    stronger ones could use all memory.
    """
    try:
        value = canonical.parse_any(data)
        fields = Fields(value, "the sealed key", _FIELDS)
        fields.version(VERSION)
        nonce, salt, sealed = fields.bytes("nonce"), fields.bytes("salt"), fields.bytes("sealed")
        used = tuple(fields.any(key) for key in ("kdf", "n", "r", "p", "cipher"))
    except InvalidCaveat as error:
        raise InvalidKey(f"this is not a sealed key: {error}") from error
    if used != (_KDF, _N, _R, _P, _CIPHER) or len(salt) != _SALT_BYTES or len(nonce) != _NONCE_BYTES:
        raise InvalidKey(f"a sealed key must use {_KDF} of {_N}, {_R}, {_P} and {_CIPHER}, got {used!r:.200}")
    header: dict[str, JSON] = {key: fields.any(key) for key in _FIELDS if key != "sealed"}
    try:
        return AESGCM(_key(passphrase, salt)).decrypt(nonce, sealed, canonical.encode(header))
    except InvalidTag as error:
        raise InvalidKey("the passphrase is wrong, or the sealed key was changed") from error


def _key(passphrase: bytes, salt: bytes) -> bytes:
    return Scrypt(salt=salt, length=_KEY_BYTES, n=_N, r=_R, p=_P).derive(passphrase)
