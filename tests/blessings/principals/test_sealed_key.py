"""Keys under a passphrase."""

from __future__ import annotations

import json

import pytest

from blessings import InvalidKey
from blessings.principals.sealed_key import seal, unseal

SEALED = seal(b"content", b"right")


def changed(**changes: object) -> bytes:
    return json.dumps({**json.loads(SEALED), **changes}).encode()


def test_the_passphrase_opens_what_it_sealed_and_no_other_does() -> None:
    assert unseal(SEALED, b"right") == b"content"
    with pytest.raises(InvalidKey, match="passphrase is wrong"):
        unseal(SEALED, b"Right")


def test_the_same_content_is_never_sealed_to_the_same_bytes() -> None:
    assert json.loads(seal(b"content", b"right")).keys() == json.loads(SEALED).keys()
    assert seal(b"content", b"right") != SEALED


def test_any_spelling_of_the_same_json_is_opened() -> None:
    assert unseal(changed(), b"right") == b"content"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        changed(more=1),
        changed(version=2),
        changed(kdf="pbkdf2"),
        changed(n=2),
        changed(n=2**30),
        changed(p=2),
        changed(cipher="none"),
        changed(salt="AAAA"),
        changed(nonce="AAAA"),
        changed(nonce="A" * 16),
        changed(salt="A" * 22 + "=="),
        changed(sealed="A" * 32),
        changed(sealed=""),
    ],
)
def test_what_was_changed_is_not_opened(data: bytes) -> None:
    with pytest.raises(InvalidKey):
        unseal(data, b"right")
