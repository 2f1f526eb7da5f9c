"""A private key under a passphrase: scrypt (RFC 7914), then AES-256-GCM.

PKCS #8 and PKCS #12 would do, but for what `cryptography` makes of them: 2048 rounds of PBKDF2, and no way to
ask for more, which protects no passphrase that a person can remember. Here guessing costs 128 MiB and some
tenths of a second each.

    {"version": 1, "kdf": "scrypt", "n": 131072, "r": 8, "p": 1, "salt", "cipher": "AES-256-GCM", "nonce",
     "sealed"}                                                    the last three of them in base64, as salt

Everything but `sealed` is authenticated with it, in canonical JSON.
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
    """`content` under the passphrase, as JSON, with salt and nonce from the system's randomness."""
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
    """The inverse of `seal`. Raises InvalidKey for a wrong passphrase, changed bytes, and another form.

    Other parameters of scrypt than ours are refused: weaker ones would have come from somebody else, and
    stronger ones could take all memory.
    """
    try:
        value = canonical.parse_any(data)
        fields = Fields(value, "the sealed key", _FIELDS)
        fields.version(VERSION)
        nonce, salt, sealed = fields.bytes("nonce"), fields.bytes("salt"), fields.bytes("sealed")
        used = tuple(fields.any(key) for key in ("kdf", "n", "r", "p", "cipher"))
    except InvalidCaveat as error:
        raise InvalidKey(f"this is no sealed key: {error}") from error
    if used != (_KDF, _N, _R, _P, _CIPHER) or len(salt) != _SALT_BYTES or len(nonce) != _NONCE_BYTES:
        raise InvalidKey(f"a sealed key has {_KDF} of {_N}, {_R}, {_P} and {_CIPHER}, got {used!r:.200}")
    header: dict[str, JSON] = {key: fields.any(key) for key in _FIELDS if key != "sealed"}
    try:
        return AESGCM(_key(passphrase, salt)).decrypt(nonce, sealed, canonical.encode(header))
    except InvalidTag as error:
        raise InvalidKey("the passphrase is another one, or the sealed key was changed") from error


def _key(passphrase: bytes, salt: bytes) -> bytes:
    return Scrypt(salt=salt, length=_KEY_BYTES, n=_N, r=_R, p=_P).derive(passphrase)
