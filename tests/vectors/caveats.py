"""Caveats and discharges as JSON values, spelled here without the library's own spelling."""

from __future__ import annotations

import base64
import hashlib
import json
from datetime import datetime
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.vectors.making import HOUR, NOW, deterministic_signature, principal

EXPIRES: datetime = NOW + HOUR / 2
EXPIRY: dict[str, Any] = {"kind": "expiry", "at": "2026-11-24T12:30:00Z"}
METHODS: dict[str, Any] = {"kind": "methods", "methods": ["Get", "List"]}
PEERS: dict[str, Any] = {"kind": "peerBlessings", "patterns": ["acme:db", "acme:cache:$"]}
ZONE: dict[str, Any] = {"kind": "example.com/zone", "parameters": "eu"}


def third_party(label: str, *conditions: dict[str, Any], nonce: str = "first") -> dict[str, Any]:
    key = principal(label).public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return {
        "kind": "thirdParty",
        "discharger": base64.b64encode(key).decode(),
        "location": "https://discharger.example/v1/discharge",
        "nonce": base64.b64encode(hashlib.sha256(nonce.encode()).digest()[:16]).decode(),
        "conditions": list(conditions),
    }


THIRD = third_party("discharger", METHODS)
OTHER = third_party("discharger", METHODS, nonce="second")
NESTED = third_party("ed25519 discharger")


def canonical(value: object) -> str:
    """RFC 8785, for the values of these vectors."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def restrictions(*values: object, delegation: bool = False) -> str:
    """The JSON text of the extension."""
    return canonical({"version": 1, "delegation": delegation, "caveats": list(values)})


def identifier(caveat: dict[str, Any]) -> str:
    return hashlib.sha256(canonical(caveat).encode()).hexdigest()


def discharge(
    caveat: dict[str, Any],
    label: str,
    *values: dict[str, Any],
    purpose: bytes = b"vanadium blessings, discharge, version 1\x00",
) -> dict[str, Any]:
    content = {"version": 1, "caveat": identifier(caveat), "caveats": list(values)}
    signature = deterministic_signature(principal(label), purpose + canonical(content).encode())
    return {**content, "signature": base64.b64encode(signature).decode()}


def signed_as_message(caveat: dict[str, Any]) -> dict[str, Any]:
    """What the discharger would sign as a message for an application that asks for just this content."""
    return discharge(caveat, "discharger", purpose=b"vanadium blessings, message signature, version 1\x00")
