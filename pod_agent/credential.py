"""The bootstrap credential in the mounted Secret.

Version 1 is a document that contains everything. In version 2, what all applications of the namespace share
stands beside it, in a file of its own: the roots. A Secret that was made by 0.1.0 goes on with version 1, for
the pod agents of that version.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec

from blessings import Blessing, BlessingsError, Name, Principal, Roots, fingerprint
from pod_agent.errors import NotMounted

ROOTS_FILE = "roots.pem"
_LONGEST_CHAIN_BYTES = 1 << 16


@dataclass(frozen=True)
class Credential:
    """A client certificate for the first call, its application, and the roots to trust for that call."""

    application: Name
    principal: Principal
    blessing: Blessing
    cluster_agent_roots: Roots


def read_credential(file: Path) -> Credential:
    """The credential in `file`, with the roots beside it. Raises NotMounted."""
    return parse_credential(read_mounted(file), partial(read_mounted, file.with_name(ROOTS_FILE)))


def parse_credential(text: str, shared_roots: Callable[[], str]) -> Credential:
    """The credential in a JSON document; `shared_roots` gives the PEM that stands beside it. Raises
    NotMounted, whose message never repeats the content."""
    try:
        document = json.loads(text)
        match document["version"]:
            case 1:
                principal = Principal.from_pem(document["privateKey"].encode())
                blessing = Blessing.from_pem(document["certificateChain"])
                roots_pem = document["clusterAgentRoots"]
            case 2:
                principal = _principal(document["key"])
                blessing = _blessing(document["certificate"])
                roots_pem = shared_roots()
            case version:
                raise NotMounted("BadCredential", f"the credential has version {version!r}, not 1 or 2")
        credential = Credential(
            Name.parse(document["application"]), principal, blessing, Roots.from_pem(roots_pem)
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, BlessingsError) as error:
        raise NotMounted("BadCredential", f"the credential cannot be used: {type(error).__name__}") from error
    if fingerprint(credential.principal.public_key) != fingerprint(credential.blessing.public_key):
        raise NotMounted("BadCredential", "the credential's key and certificate do not belong together")
    return credential


def read_mounted(path: Path) -> str:
    """A mounted file's text. Raises NotMounted."""
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise NotMounted("NotMounted", f"cannot read {path}: {error}") from error


def _principal(key: Any) -> Principal:
    """The principal with a P-256 key: its secret number in base64, as in JWK (RFC 7518, 6.2.2.1)."""
    number = int.from_bytes(base64.b64decode(key), "big")
    return Principal(ec.derive_private_key(number, ec.SECP256R1()))


def _blessing(chain: Any) -> Blessing:
    """The chain in DER, compressed by zlib, in base64."""
    inflated = zlib.decompressobj()
    try:
        der = inflated.decompress(base64.b64decode(chain), _LONGEST_CHAIN_BYTES)
    except zlib.error as error:
        raise ValueError(str(error)) from error
    if not inflated.eof:
        raise ValueError(f"the chain is cut, or has more than {_LONGEST_CHAIN_BYTES} bytes")
    return Blessing.from_der(der)
