"""The form of a namespace's Secret: one entry for each service account, and what they share.

An entry is a credential of version 2, as short as it can be: a Secret has at most 1 MiB, and a namespace may
have more than a thousand service accounts. Entries of version 1, which 0.1.0 wrote, contain everything; they
stay in that form while there is room, because the pod agents of 0.1.0 read no other.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec

from blessings import Blessing, BlessingsError, Principal
from webhook.layout import ROOTS_KEY

# Kubernetes refuses a Secret with more than 1 MiB of values. New entries leave room below that, for what
# grows in those that are there: roots during a rotation, a signature that is two bytes longer.
MOST_BYTES = (1 << 20) - (16 << 10)
MOST_BYTES_WITH_NEW_ENTRIES = 900 << 10


@dataclass(frozen=True)
class Entry:
    """What an entry contains. `roots` is None in version 2, and `id` is None for an entry that is damaged, or
    not ours."""

    id: str | None = None
    roots: str | None = None


def read_entry(text: str) -> Entry:
    """The entry in a text that any client with the right to write Secrets may have written."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):  # JSON can be nested to any depth
        return Entry()
    match document:
        case {"version": 2, "id": str(identifier), "certificate": str(), "key": str()}:
            return Entry(identifier)
        case {"version": 1, "id": str(identifier), "privateKey": str(key)} if key:
            roots = document.get("clusterAgentRoots")
            return Entry(identifier, roots if isinstance(roots, str) else "")
        case _:
            return Entry()


def entry_of(credential: Mapping[str, Any]) -> str:
    """The entry of version 2 for a credential of version 1. Raises ValueError for what is none."""
    try:
        principal = Principal.from_pem(credential["privateKey"].encode())
        chain = Blessing.from_pem(credential["certificateChain"]).to_der()
        document = {
            "version": 2,
            "id": credential["id"],
            "application": credential["application"],
            # Not PEM, which would take a third more.
            "certificate": base64.b64encode(zlib.compress(chain, 9)).decode(),
            "key": base64.b64encode(_secret_number(principal)).decode(),
        }
    except (BlessingsError, KeyError, AttributeError, TypeError) as error:
        raise ValueError(f"no credential of version 1: {error!r}") from error
    return json.dumps(document, separators=(",", ":"))


def _secret_number(principal: Principal) -> bytes:
    """The whole of a key on P-256, which is what bootstrap credentials have."""
    key = principal.signing_key
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise TypeError("the key is not on P-256")
    return key.private_numbers().private_value.to_bytes(32, "big")


def renewed(text: str | None, credential: Mapping[str, Any], roots_pem: str) -> str:
    """The entry for a new credential, of the version of the entry `text` whose place it takes."""
    if text is not None and read_entry(text).roots is not None:
        return _with_roots(credential, roots_pem)
    return entry_of(credential)


def complete(entries: Mapping[str, str], roots_pem: str) -> dict[str, str]:
    """The Secret's data: the entries, all with these roots, and shorter ones where they take too much."""
    data = {account: _trusting(text, roots_pem) for account, text in entries.items()}
    data[ROOTS_KEY] = roots_pem
    if size(data) > MOST_BYTES:
        data = {key: text if key == ROOTS_KEY else _shortened(text) for key, text in data.items()}
    return data


def size(data: Mapping[str, str]) -> int:
    """Bytes, as Kubernetes counts them: without the keys."""
    return sum(len(text.encode()) for text in data.values())


def _with_roots(credential: Mapping[str, Any], roots_pem: str) -> str:
    return json.dumps({**credential, "clusterAgentRoots": roots_pem})


def _trusting(text: str, roots_pem: str) -> str:
    if read_entry(text).roots in (None, roots_pem):
        return text
    return _with_roots(json.loads(text), roots_pem)


def _shortened(text: str) -> str:
    if read_entry(text).roots is None:
        return text
    try:
        return entry_of(json.loads(text))
    except ValueError:
        return text  # not ours, whatever it is
