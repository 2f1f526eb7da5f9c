"""Certificate requests as the pod agent sends them."""

from __future__ import annotations

from cryptography.hazmat.primitives.serialization import Encoding

from blessings import Principal

VERSION_1 = b"\x02\x01\x00"


def csr_of(principal: Principal) -> str:
    return principal.csr().public_bytes(Encoding.PEM).decode()


def of_unknown_version(der: bytes) -> bytes:
    """A request with a version that no standard has. Its first INTEGER is that."""
    at = der.index(VERSION_1)
    return der[: at + 2] + b"\x05" + der[at + 3 :]
