"""JWT-SVIDs: what ours prove to an independent library, what its tokens prove to us, and each attack."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jwk, jws, jwt

from blessings import InvalidJwt, InvalidKey, Name, Principal
from blessings.jwt.encoding import base64url
from blessings.jwt.keys import MOST_KEYS, JwtKey, key_id_of, key_set, numbers_of
from blessings.jwt.svid import MOST_TOKEN_CHARACTERS, claims_of, signed, verified

NOW = datetime(2026, 11, 28, 12, 0, tzinfo=UTC)
END = NOW + timedelta(minutes=5)
WEB = Name.parse("acme:prod:shop:web:web-1")
OURS, ACME = Principal.create(), "spiffe://acme"
KEY_ID = key_id_of(OURS.public_key)


def jwk_of(principal: Principal) -> dict[str, str]:
    return {"kid": key_id_of(principal.public_key), "use": "jwt-svid", **numbers_of(principal.public_key)}


BUNDLES = {ACME: key_set([jwk_of(OURS)])}


def claims(**changes: object) -> dict[str, object]:
    made = claims_of(WEB, ["db"], issued_at=NOW, expires=END, token_id="1")
    return {name: value for name, value in {**made, **changes}.items() if value is not None}


def refused(token: str, audience: str = "db", now: datetime = NOW, bundles: Any = None) -> str:
    with pytest.raises(InvalidJwt) as caught:
        verified(token, audience, BUNDLES if bundles is None else bundles, now)
    return str(caught.value)


def forged(header: dict[str, Any], of: dict[str, Any], signature: bytes = b"") -> str:
    parts = [base64url(json.dumps(one).encode()) for one in (header, of)]
    return ".".join([*parts, base64url(signature)])


def test_our_token_is_valid_to_an_independent_library() -> None:
    token = signed(claims(), OURS)
    key = jwk.JWKRegistry.import_key({**jwk_of(OURS), "use": "sig"})
    decoded = jwt.decode(token, key, algorithms=["ES256"])
    assert decoded.header == {"alg": "ES256", "kid": KEY_ID, "typ": "JWT"}
    assert decoded.claims["sub"] == "spiffe://acme/prod/shop/web/web-1"
    svid = verified(token, "db", BUNDLES, NOW)
    assert (svid.name, svid.expires, svid.claims["jti"]) == (WEB, END, "1")


@pytest.mark.parametrize(
    ("key", "algorithms"),
    [
        (jwk.RSAKey.generate_key(2048), ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"]),
        (jwk.ECKey.generate_key("P-256"), ["ES256"]),
        (jwk.ECKey.generate_key("P-384"), ["ES384"]),
        (jwk.ECKey.generate_key("P-521"), ["ES512"]),
    ],
)
def test_tokens_of_every_algorithm_that_the_standard_allows(
    key: jwk.RSAKey | jwk.ECKey, algorithms: list[str]
) -> None:
    partner = "spiffe://partner"
    bundles = {partner: key_set([{**key.as_dict(private=False), "kid": "k"}]), **BUNDLES}
    registry = jws.JWSRegistry(algorithms=algorithms)
    registry.max_signature_length = 2048
    for algorithm in algorithms:
        header = {"alg": algorithm, "kid": "k"}
        token = jwt.encode(header, claims(sub=f"{partner}/api", aud="db"), key, registry=registry)
        assert verified(token, "db", bundles, NOW).name == Name.parse("partner:api")
        other = "ES256" if algorithm != "ES256" else "ES384"
        changed = forged({"alg": other, "kid": "k"}, claims(sub=f"{partner}/api"), b"x" * 64)
        assert "signature" in refused(changed, bundles=bundles)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"exp": int(NOW.timestamp())}, "expired"),
        ({"exp": None}, "no exp"),
        ({"exp": "soon"}, "exp is no number"),
        ({"exp": True}, "exp is no number"),
        ({"exp": 10**400}, "exp is no time"),
        ({"nbf": int(NOW.timestamp()) + 61}, "not valid yet"),
        ({"aud": ["other"]}, "not meant for"),
        ({"aud": "d"}, "not meant for"),
        ({"aud": None}, "not meant for"),
        ({"aud": {"db": 1}}, "not meant for"),
        ({"sub": "acme:web"}, "no SPIFFE ID"),
        ({"sub": None}, "no SPIFFE ID"),
        ({"sub": "spiffe://acme"}, "a trust domain"),
        ({"sub": "spiffe://acme/../evil"}, "no SPIFFE ID"),
        ({"sub": "spiffe://evil/web"}, "neither this one nor a federated one"),
    ],
)
def test_attack_claims_that_prove_nothing(changes: dict[str, object], said: str) -> None:
    assert said in refused(signed(claims(**changes), OURS))


def test_attack_no_audience_fits_none() -> None:
    assert "not meant for" in refused(signed(claims(aud=["", "db"]), OURS), audience="")


def test_attack_a_token_without_a_signature() -> None:
    for algorithm in ("none", "None", ""):
        assert "signature" in refused(forged({"alg": algorithm, "kid": KEY_ID}, claims()))
    header, body, _ = signed(claims(), OURS).split(".")
    assert "signature" in refused(f"{header}.{body}.")


def test_attack_the_public_key_as_the_secret_of_an_hmac() -> None:
    public = json.dumps(jwk_of(OURS)).encode()
    for secret in (public, base64.b64encode(public)):
        token = jwt.encode(
            {"alg": "HS256", "kid": KEY_ID}, claims(), jwk.OctKey.import_key(secret), ["HS256"]
        )
        assert "by an algorithm of this key" in refused(token)
    with pytest.raises(InvalidKey, match="secret"):
        JwtKey.of({"kty": "oct", "kid": "k", "k": base64url(public)})


def test_attack_a_key_that_the_token_brings_itself() -> None:
    evil = Principal.create()
    header = {"alg": "ES256", "kid": key_id_of(evil.public_key), "jwk": jwk_of(evil)}
    body = signed(claims(), evil).split(".")
    assert "does not have" in refused(signed(claims(), evil))
    assert "does not have" in refused(".".join([base64url(json.dumps(header).encode()), *body[1:]]))


def test_attack_the_key_of_one_trust_domain_for_a_name_of_another() -> None:
    partner = Principal.create()
    bundles = {**BUNDLES, "spiffe://partner": key_set([jwk_of(partner)])}
    token = signed(claims(sub="spiffe://partner/api"), partner)
    assert verified(token, "db", bundles, NOW).name == Name.parse("partner:api")
    assert "does not have" in refused(signed(claims(), partner), bundles=bundles)
    # Also when it claims the identifier of our key.
    same_id = {**bundles, "spiffe://partner": {KEY_ID: JwtKey.of({**jwk_of(partner), "kid": KEY_ID})}}
    header = base64url(json.dumps({"alg": "ES256", "kid": KEY_ID}).encode())
    _, body, signature = signed(claims(), partner).split(".")
    assert "signature" in refused(f"{header}.{body}.{signature}", bundles=same_id)


def test_a_key_that_is_gone_verifies_nothing() -> None:
    new = Principal.create()
    assert "does not have" in refused(signed(claims(), OURS), bundles={ACME: key_set([jwk_of(new)])})


@pytest.mark.parametrize(
    "header",
    [
        {"alg": "ES256", "kid": KEY_ID, "crit": ["b64"], "b64": False},
        {"alg": "ES256", "kid": KEY_ID, "typ": "at+jwt"},
        {"alg": "ES256"},
        {"alg": ["ES256"], "kid": KEY_ID},
        {"alg": "ES256", "kid": {"a": 1}},
    ],
)
def test_attack_headers_that_change_the_meaning(header: dict[str, Any]) -> None:
    assert "header" in refused(forged(header, claims(), b"x" * 64))


def test_attack_a_second_spelling_of_a_token() -> None:
    token = signed(claims(), OURS)
    header, body, signature = token.split(".")
    double = base64url(b'{"alg":"ES256","kid":"' + KEY_ID.encode() + b'","alg":"none"}')
    for changed in (
        f"{header}.{body}.{signature}=",
        f"{header}.{body}. {signature}",
        f"{header}.{body}.{signature}.x",
        f"{double}.{body}.{signature}",
        f"{header}.{body}",
        "",
        "..",
        "é.é.é",
    ):
        assert refused(changed)


def test_attack_a_token_without_end_is_not_read() -> None:
    assert str(MOST_TOKEN_CHARACTERS) in refused("a" * (MOST_TOKEN_CHARACTERS + 1))
    deep = base64url(b'{"a":' * 800)
    assert "compact form" in refused(f"{deep}.{deep}.{deep}")


@given(st.text(max_size=80), st.binary(max_size=40))
def test_attack_anything_is_refused_and_nothing_worse(text: str, data: bytes) -> None:
    header, body, signature = signed(claims(), OURS).split(".")
    for token in (text, f"{text}.{body}.{signature}", f"{header}.{body}.{base64url(data)}"):
        refused(token)


def test_a_refusal_says_nothing_of_the_token() -> None:
    token = signed(claims(aud=["secret-audience"]), OURS)
    assert "secret-audience" not in refused(token)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"kid": ""}, "kid must be"),
        ({"kid": "x" * 300}, "kid must be"),
        ({"crv": "secp256k1"}, "curve"),
        ({"x": "AA"}, "bytes each"),
        ({"y": base64url(b"\1" * 32)}, "cannot be used"),
        ({"y": 7}, "it has no y"),
        ({"alg": "RS256"}, "not of the kind that its alg states"),
        ({"d": "AA"}, "secret"),
        ({"kty": "RSA", "n": base64url(b"\xff" * 128), "e": "AQAB"}, "2048"),
        ({"kty": "RSA", "n": base64url(b"\0" * 256 + b"\xff" * 128), "e": "AQAB"}, "2048"),
        ({"kty": "OKP", "crv": "Ed25519"}, "EC or RSA"),
    ],
)
def test_keys_that_are_not_accepted(changed: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidKey, match=said):
        JwtKey.of({**jwk_of(OURS), **changed})


def test_a_key_set_is_bounded_and_has_each_identifier_once() -> None:
    with pytest.raises(InvalidKey, match="two keys"):
        key_set([jwk_of(OURS), jwk_of(OURS)])
    with pytest.raises(InvalidKey, match="may have"):
        key_set([{**jwk_of(OURS), "kid": str(number)} for number in range(MOST_KEYS + 1)])
