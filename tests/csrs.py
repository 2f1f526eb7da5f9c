"""Certificate requests as the pod agent sends them."""

from __future__ import annotations

from cryptography.hazmat.primitives.serialization import Encoding

from blessings import Principal


def csr_of(principal: Principal) -> str:
    return principal.csr().public_bytes(Encoding.PEM).decode()
