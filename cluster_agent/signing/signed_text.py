"""Texts in the store that the issuing key signed, so that write access to the database makes none of them.

What a text is for stands in the text itself: a signature under one holds for no other.
"""

from __future__ import annotations

from blessings import Principal, verify_signature


def signature_of(text: str, issuing: Principal) -> str:
    """In hex."""
    return issuing.sign(text.encode()).hex()


def is_signed(text: str, signature: str, issuing: Principal) -> bool:
    """Whether this is the issuing key's signature of the text; not when it is no hex."""
    try:
        return verify_signature(issuing.public_key, text.encode(), bytes.fromhex(signature))
    except ValueError:
        return False
