"""Vectors of what is spelled: names, patterns, access lists, caveats, discharges, bundles, encodings."""

from __future__ import annotations

import base64
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.vectors import caveats
from tests.vectors.caveats import canonical, restrictions
from tests.vectors.chains import PHONE, REPLICA, ROOT_MADE, WEB, pem
from tests.vectors.making import ROOT, Made, deterministic_signature, make, principal, utf8_extension

Vector = dict[str, Any]
_LONG = "x" * 253
_LONGEST = "acme:" + ":".join([_LONG] * 8)


def names() -> list[Vector]:
    valid = [
        "acme",
        "acme:web",
        "acme:prod:shop:web:web-7d9f-x2x4z",
        "0",
        "a.b-c_d:E",
        f"acme:{_LONG}",
        f"{_LONGEST}:ab",
        "acme:....",
        "a.b",
    ]
    invalid = [
        "",
        ":",
        "acme:",
        ":acme",
        "acme::web",
        "Acme",
        "acme:.",
        "acme:..",
        "acme:...",
        "...",
        "acme:we b",
        "acme:wéb",
        "acme:web\n",
        "acme/web",
        "acme:$",
        f"acme:{_LONG}x",
        f"{_LONGEST}:abc",
        "acme:%41",
    ]
    uris = [
        "acme/web",
        "spiffe:/acme/web",
        "spiffe://",
        "spiffe:///web",
        "spiffe://acme/",
        "spiffe://acme//web",
        "spiffe://acme:443/web",
        "spiffe://user@acme/web",
        "spiffe://acme/web?q",
        "spiffe://acme/web#f",
        "SPIFFE://acme/web",
        "spiffe://ACME/web",
        "spiffe://acme/./web",
        "spiffe://acme/web%2f1",
        "https://acme/web",
    ]
    return [
        *({"text": text, "spiffeId": "spiffe://" + text.replace(":", "/")} for text in valid),
        *({"text": text, "invalid": True} for text in invalid),
        *({"spiffeId": uri, "invalid": True} for uri in uris),
    ]


def patterns() -> list[Vector]:
    def matching(pattern: str, yes: list[str], no: list[str]) -> Vector:
        return {"pattern": pattern, "matches": yes, "doesNotMatch": no}

    invalid = [
        "",
        "$",
        ":$",
        "acme:",
        "acme:$:web",
        "acme:web:$:$",
        "acme:...",
        "...:$",
        "acme:*",
        "acme:we*",
        "acme:web$",
    ]
    return [
        matching("...", ["acme", "other:web"], []),
        matching("acme", ["acme", "acme:web", "acme:web:web-1"], ["acm", "acme2", "other:acme"]),
        matching("acme:web", ["acme:web", "acme:web:web-1"], ["acme", "acme:website", "acme:we", "acme:Web"]),
        matching("acme:web:$", ["acme:web"], ["acme", "acme:web:web-1", "acme:website"]),
        *({"pattern": pattern, "invalid": True} for pattern in invalid),
    ]


def access_lists() -> list[Vector]:
    lists = {
        "Admin": {"in": ["acme:ops"], "not_in": ["acme:ops:intern"]},
        "Read": {"in": ["..."]},
        "Nobody": {},
    }
    text = canonical(lists)

    def asked(tag: str, names: list[str], allowed: bool) -> Vector:
        return {"permissions": text, "tag": tag, "names": names, "allowed": allowed}

    invalid = [
        "",
        "[]",
        "{",
        '{"Admin":[]}',
        '{"Admin":{"in":"acme"}}',
        '{"Admin":{"in":[1]}}',
        '{"Admin":{"allow":[]}}',
        '{"Admin":{},"Admin":{}}',
        '{"":{}}',
        '{"Admin":{"in":["acme:"]}}',
        '{"Admin":{"in":[],"in":["..."]}}',
    ]
    return [
        asked("Admin", ["acme:ops:alice"], True),
        asked("Admin", ["acme:ops"], True),
        asked("Admin", ["acme:opsen"], False),
        asked("Admin", ["acme:ops:intern:bob"], False),
        asked("Admin", ["acme:ops:alice", "acme:ops:intern"], False),
        asked("Admin", ["other", "acme:ops:alice"], True),
        asked("Admin", [], False),
        asked("Read", ["anybody"], True),
        asked("Read", [], False),
        asked("Nobody", ["acme:ops"], False),
        asked("Unheard", ["acme:ops"], False),
        *({"permissions": one, "invalid": True} for one in invalid),
    ]


def caveat_forms() -> list[Vector]:
    """The extension's value for each, and the identifier of those of a third party."""

    def form(value: Vector, kind: str) -> Vector:
        extension = utf8_extension(restrictions(value).encode()).value.hex()
        made = {"json": canonical(value), "kind": kind, "extension": extension}
        return {**made, "identifier": caveats.identifier(value)} if kind == "thirdParty" else made

    p384 = ec.derive_private_key(2026, ec.SECP384R1()).public_key()
    weak = base64.b64encode(p384.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).decode()
    third = caveats.THIRD
    invalid: list[object] = [
        None,
        [],
        "expiry",
        {},
        {"kind": 1},
        {"kind": "expiry"},
        {**caveats.EXPIRY, "more": 1},
        {**caveats.EXPIRY, "at": "2026-11-24T12:30:00.5Z"},
        {**caveats.EXPIRY, "at": "2026-11-24 12:30:00Z"},
        {**caveats.EXPIRY, "at": "2026-02-29T00:00:00Z"},
        {**caveats.EXPIRY, "at": "2026-11-24T24:00:00Z"},
        {**caveats.EXPIRY, "at": "2026-11-24T12:59:60Z"},
        {**caveats.EXPIRY, "at": 0},
        {**caveats.METHODS, "methods": []},
        {**caveats.METHODS, "methods": ["a b"]},
        {**caveats.METHODS, "methods": [""]},
        {**caveats.PEERS, "patterns": []},
        {**caveats.PEERS, "patterns": ["acme:"]},
        {**third, "nonce": "AAAA"},
        {**third, "discharger": weak},
        {**third, "location": ""},
        {**third, "location": "https://dischärger.example/"},
        {**third, "conditions": [{"kind": "expiry"}]},
        {**third, "discharger": third["discharger"].rstrip("=") + "\n"},
    ]
    return [
        form(caveats.EXPIRY, "expiry"),
        form(caveats.METHODS, "methods"),
        form(caveats.PEERS, "peerBlessings"),
        form(caveats.ZONE, "custom"),
        form({**caveats.ZONE, "parameters": {"deep": [1, None, True, "é\u2028\u0001\\"]}}, "custom"),
        form({"kind": "future"}, "unknown"),
        form({**caveats.ZONE, "more": 1}, "unknown"),
        form({"kind": "Expiry", "at": "x"}, "unknown"),
        form(third, "thirdParty"),
        form(caveats.NESTED, "thirdParty"),
        *({"json": canonical(value), "invalid": True} for value in invalid),
        *({"extension": value, "invalid": True} for value in _invalid_extensions()),
    ]


def _invalid_extensions() -> list[str]:
    valid = restrictions(caveats.EXPIRY).encode()
    value: bytes = utf8_extension(valid).value
    return [
        "",
        "0c00",
        "0500",
        value[:-1].hex(),
        (value + b"\x00").hex(),
        (b"\x13" + value[1:]).hex(),
        (b"\x0c\x81" + value[1:]).hex() if len(valid) < 0x80 else (b"\x0c\x82\x00" + value[2:]).hex(),
        utf8_extension(valid.replace(b'"at"', b'"a\\u0074"')).value.hex(),
        utf8_extension(valid + b"\n").value.hex(),
        utf8_extension(b"\xef\xbb\xbf" + valid).value.hex(),
        utf8_extension(valid.decode().encode("utf-16-le")).value.hex(),
    ]


def discharges() -> list[Vector]:
    """Whether each is signed by the caveat's discharger; the request for it is what a discharger is asked."""

    def form(caveat: Vector, discharge: Vector, signed: bool) -> Vector:
        request = canonical({"version": 1, "caveat": caveat})
        return {"request": request, "discharge": canonical(discharge), "signed": signed}

    third, made = caveats.THIRD, caveats.discharge(caveats.THIRD, "discharger")
    ed = caveats.discharge(caveats.NESTED, "ed25519 discharger", caveats.EXPIRY)
    invalid: list[object] = [
        None,
        {},
        {**made, "version": 2},
        {**made, "version": True},
        {**made, "more": 1},
        {**made, "caveat": "00"},
        {**made, "caveat": made["caveat"].upper()},
        {**made, "signature": "?"},
        {**made, "caveats": {}},
        {**made, "caveats": [caveats.EXPIRY] * 33},
    ]
    requests: list[object] = [
        None,
        {"version": 1, "caveat": caveats.EXPIRY},
        {"version": 2, "caveat": third},
        {"caveat": third},
    ]
    return [
        form(third, made, True),
        form(caveats.NESTED, ed, True),
        form(third, caveats.discharge(third, "replica"), False),
        form(third, {**made, "caveats": [caveats.EXPIRY]}, False),
        form(third, caveats.signed_as_message(third), False),
        *({"discharge": canonical(value), "invalid": True} for value in invalid),
        *({"request": canonical(value), "invalid": True} for value in requests),
    ]


def signatures() -> list[Vector]:
    """Signatures of messages as Principal.sign makes them, except for the nonce of ECDSA."""
    made = []
    for label in ("replica", "ed25519 replica"):
        holder = principal(label)
        prefixed = b"vanadium blessings, message signature, version 1\x00" + b"hello"
        key = holder.public_key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
        signature = deterministic_signature(holder, prefixed)
        bare = deterministic_signature(holder, b"hello")
        common = {"publicKey": key, "message": b"hello".hex(), "privateKey": holder.to_pem().decode()}
        made += [
            {**common, "signature": signature.hex(), "valid": True},
            {**common, "signature": bare.hex(), "valid": False},
            {**common, "signature": signature[:-1].hex(), "valid": False},
            {**common, "signature": "", "valid": False},
        ]
    return made


def bundles() -> list[Vector]:
    ed = make(ROOT, "acme", "ed25519 root")
    ec_key, okp_key = _jwk(ROOT_MADE), _jwk(ed)
    jwt = {"use": "jwt-svid", "kty": "EC", "kid": "1", "crv": "P-256", "x": "AA", "y": "AA"}

    def bundle(keys: list[Any], count: int, **more: int) -> Vector:
        text = canonical({"keys": keys, **more})
        return {"trustDomain": "acme", "bundle": text, "x509Roots": count}

    invalid: list[object] = [
        None,
        [],
        {},
        {"keys": {}},
        {"keys": [1]},
        {"keys": [{**ec_key, "x5c": []}]},
        {"keys": [{**ec_key, "x5c": ec_key["x5c"] * 2}]},
        {"keys": [{**ec_key, "x": okp_key["x"]}]},
        {"keys": [{**ec_key, "x5c": okp_key["x5c"]}]},
        {"keys": [{**ec_key, "kty": "OKP"}]},
        {"keys": [{**ec_key, "x5c": [_der(REPLICA)]}]},
        {"keys": [{**ec_key, "x5c": ["?"]}]},
        {"keys": [ec_key], "spiffe_sequence": -1},
        {"keys": [ec_key], "spiffe_sequence": 1.5},
    ]
    return [
        bundle([ec_key], 1),
        bundle([ec_key, okp_key, jwt], 2, spiffe_sequence=7, spiffe_refresh_hint=300),
        bundle([{"use": "other", "kty": "oct"}], 0),
        bundle([], 0),
        *({"trustDomain": "acme", "bundle": canonical(value), "invalid": True} for value in invalid),
        {"trustDomain": "partner", "bundle": canonical({"keys": [ec_key]}), "invalid": True},
    ]


def encodings() -> list[Vector]:
    """One chain in both forms; and what is neither, with the place of the certificate where there is one."""
    whole = b"".join(one.certificate.public_bytes(Encoding.DER) for one in (PHONE, REPLICA, WEB))
    text = pem(PHONE, REPLICA, WEB)
    broken = pem(REPLICA) + pem(WEB).replace("\nMII", "\nMIX", 1)
    first = len(PHONE.certificate.public_bytes(Encoding.DER))
    return [
        {"pem": text, "der": whole.hex(), "certificates": 3},
        {"pem": "noise\n" + text, "der": whole.hex(), "certificates": 3},
        {"pem": "", "invalid": True, "certificate": None},
        {"pem": broken, "invalid": True, "certificate": 1},
        {"der": "", "invalid": True, "certificate": None},
        {"der": whole[:-1].hex(), "invalid": True, "certificate": 2},
        {"der": (whole + b"\x00").hex(), "invalid": True, "certificate": 3},
        {"der": (whole[:first] + b"\x31" + whole[first + 1 :]).hex(), "invalid": True, "certificate": 1},
        {"der": b"\x30\x80\x00\x00".hex(), "invalid": True, "certificate": 0},
    ]


def _der(made: Made) -> str:
    return base64.b64encode(made.certificate.public_bytes(Encoding.DER)).decode()


def _jwk(made: Made) -> dict[str, Any]:
    key = made.principal.public_key
    common = {"use": "x509-svid", "x5c": [_der(made)]}
    if isinstance(key, ec.EllipticCurvePublicKey):
        point = key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        return {**common, "kty": "EC", "crv": "P-256", "x": _url(point[1:33]), "y": _url(point[33:])}
    raw = key.public_bytes(Encoding.Raw, PublicFormat.Raw)
    return {**common, "kty": "OKP", "crv": "Ed25519", "x": _url(raw)}


def _url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
