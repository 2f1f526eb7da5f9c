"""One function for each parser: any bytes are read, or refused with the parser's own error; what is read is
spelled again to the same. Anything else is a finding.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime

from blessings import (
    Blessing,
    BlessingStore,
    Discharge,
    InvalidAccessList,
    InvalidBundle,
    InvalidCaveat,
    InvalidCertificate,
    InvalidJwt,
    InvalidKey,
    InvalidName,
    InvalidPattern,
    InvalidStore,
    Name,
    Pattern,
    Permissions,
    Policy,
    Roots,
    TrustBundle,
    VerificationError,
    keys,
    verify_blessing,
)
from blessings.caveats import kinds
from blessings.caveats.discharges import encode_request, parse_request
from blessings.encoding import canonical
from blessings.jwt.encoding import base64url, json_object
from blessings.jwt.keys import JwtKey, numbers_of
from blessings.jwt.svid import verified
from blessings.principals import sealed_key
from blessings.profile.restrictions import parse as parse_restrictions
from pod_agent.envoy.discovery import MOST_NAMES, Request
from pod_agent.errors import GrpcError
from pod_agent.workload.jwt import struct_of
from tests.fuzz.listeners import agent_protocol, workload_api
from tests.vectors.chains import ROOT_MADE
from tests.vectors.making import NOW, principal

_ROOTS = Roots.of(ROOT_MADE.certificate)
_ACME = Name.parse("acme")
_OURS = JwtKey.of({"kid": "k", **numbers_of(principal("replica").public_key)})


def name(data: bytes) -> None:
    text = _text(data)
    with suppress(InvalidName):
        read = Name.parse(text)
        assert str(read) == text
        assert Name.from_spiffe_id(read.spiffe_id) == read


def spiffe_id(data: bytes) -> None:
    text = _text(data)
    with suppress(InvalidName):
        assert Name.from_spiffe_id(text).spiffe_id == text


def pattern(data: bytes) -> None:
    text = _text(data)
    with suppress(InvalidPattern):
        read = Pattern.parse(text)
        assert str(read) == text
        assert read.name is None or read.matches(read.name)


def permissions(data: bytes) -> None:
    with suppress(InvalidAccessList):
        read = Permissions.parse(data)
        assert Permissions.from_value(read.to_value()) == read
        assert not any(one.allows([]) for one in read.lists.values())


def caveat(data: bytes) -> None:
    with suppress(InvalidCaveat):
        read = kinds.parse(canonical.parse(data))
        assert canonical.encode(read.to_json()) == data


def restrictions(data: bytes) -> None:
    with suppress(InvalidCaveat):
        read = parse_restrictions(data)
        assert read.to_extension().value == data


def pem_chain(data: bytes) -> None:
    with suppress(InvalidCertificate):
        _judge(Blessing.from_pem(data))
    with suppress(InvalidCertificate):
        Blessing.from_pem(_text(data))


def der_chain(data: bytes) -> None:
    with suppress(InvalidCertificate):
        blessing = Blessing.from_der(data)
        assert Blessing.from_der(blessing.to_der()) == blessing
        _judge(blessing)


def discharge(data: bytes) -> None:
    with suppress(InvalidCaveat):
        read = Discharge.parse(data)
        assert Discharge.parse(read.encode()) == read
        read.is_signed_by(ROOT_MADE.principal.public_key)


def discharge_request(data: bytes) -> None:
    with suppress(InvalidCaveat):
        read = parse_request(data)
        assert parse_request(encode_request(read)).identifier == read.identifier


def bundle(data: bytes) -> None:
    with suppress(InvalidBundle):
        read = TrustBundle.parse(data, _ACME)
        assert TrustBundle.parse(read.to_json(), _ACME) == read


def public_key(data: bytes) -> None:
    with suppress(InvalidKey):
        read = keys.parse_public_key(data)
        assert keys.encoded(keys.parse_public_key(keys.encoded(read))) == keys.encoded(read)


def sealed_keys(data: bytes) -> None:
    # Without scrypt's 128 MiB for each: what is read before and after it is what is tried here.
    derive, sealed_key._key = (
        sealed_key._key,
        lambda passphrase, salt: (passphrase + salt).ljust(32, b"\x00")[:32],
    )
    try:
        with suppress(InvalidKey):
            sealed_key.unseal(data, b"passphrase")
    finally:
        sealed_key._key = derive


class _Trusting(JwtKey):
    """Takes every signature for its own: what is read after it is what is tried here."""

    def is_signed(self, algorithm: str, message: bytes, signature: bytes) -> bool:
        super().is_signed(algorithm, message, signature)
        return True


_JWT_KEY = _Trusting(_OURS.key_id, _OURS.key, _OURS.algorithms)


def jwt_svid(data: bytes) -> None:
    """The claims, as they would stand in a token."""
    header = base64url(json.dumps({"alg": "ES256", "kid": _JWT_KEY.key_id}).encode())
    for token in (_text(data), f"{header}.{base64url(data)}.{base64url(data[:64])}"):
        with suppress(InvalidJwt):
            svid = verified(token, "db", {"spiffe://acme": {_JWT_KEY.key_id: _JWT_KEY}}, NOW)
            with suppress(ValueError, OverflowError):
                struct_of(svid.claims)


def jwk(data: bytes) -> None:
    with suppress(ValueError):  # InvalidKey is one
        JwtKey.of(json_object(data))


def blessing_store(data: bytes) -> None:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return
    with suppress(InvalidStore):
        BlessingStore.from_json(value)


def envoy_request(data: bytes) -> None:
    with suppress(GrpcError):
        read = Request.parse(data)
        assert len(read.names) <= MOST_NAMES
        assert all(read.names)


TARGETS: dict[str, Callable[[bytes], None]] = {
    "name": name,
    "spiffe-id": spiffe_id,
    "pattern": pattern,
    "permissions": permissions,
    "caveat": caveat,
    "restrictions": restrictions,
    "pem-chain": pem_chain,
    "der-chain": der_chain,
    "discharge": discharge,
    "discharge-request": discharge_request,
    "bundle": bundle,
    "public-key": public_key,
    "sealed-key": sealed_keys,
    "blessing-store": blessing_store,
    "envoy-request": envoy_request,
    "agent-protocol": agent_protocol,
    "workload-api": workload_api,
    "jwt-svid": jwt_svid,
    "jwk": jwk,
}


def _judge(blessing: Blessing) -> None:
    """Everything that is asked of a presented chain, in and out of its time."""
    for now in (NOW, datetime(1, 1, 1, tzinfo=UTC)):
        with suppress(VerificationError):
            verify_blessing(blessing, _ROOTS, now=now, policy=Policy(max_delegations=15))
    for ask in ("presented", "not_before", "not_after", "is_svid"):
        with suppress(InvalidCertificate):
            getattr(blessing, ask)
    with suppress(InvalidKey):
        assert blessing.public_key


def _text(data: bytes) -> str:
    """Text of any kind, with halves of surrogate pairs for what is no UTF-8."""
    return data.decode("utf-8", "surrogateescape")
