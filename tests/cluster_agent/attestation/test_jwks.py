"""Tokens checked against the issuer's keys: what keys and headers they may have, and forgeries."""

from __future__ import annotations

import asyncio
import base64
import hmac
import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from joserfc import jws
from joserfc.jwk import ECKey, RSAKey

from cluster_agent.attestation import TokenRefused
from cluster_agent.attestation.jwks import JwksAttestor
from cluster_agent.attestation.key_source import MOST_WAITING, KeySource
from cluster_agent.errors import TooManyRequests, Unavailable
from tests.clock import Clock
from tests.cluster_agents import AUDIENCE, ISSUER, key_source, pod_token
from vkube.local.token_issuer import TokenIssuer

RSA = RSAKey.generate_key(2048)
P256 = ECKey.generate_key("P-256")


class Issuer:
    """A cluster's token issuer, and an attestor that has its published keys."""

    def __init__(self, key: ECKey | RSAKey, directory: Path) -> None:
        self.key = key
        self.algorithm = "RS256" if isinstance(key, RSAKey) else "ES256"
        self.clock = Clock()
        self.tokens = TokenIssuer(ISSUER, self.clock, key)
        self.file = directory / "jwks.json"
        self.publish()
        keys = key_source(self.file, self.clock)
        self.attestor = JwksAttestor(keys, issuer=ISSUER, audience=AUDIENCE, now=self.clock)

    def publish(self, *others: object, **changes: object) -> None:
        """Its key set: `others`, and then its key, of which fields are changed."""
        (key,) = json.loads(self.tokens.jwks())["keys"]
        self.file.write_text(json.dumps({"keys": [*others, {**key, **changes}]}))

    def header(self, **more: Any) -> dict[str, Any]:
        return {"alg": self.algorithm, "kid": self.key.thumbprint(), **more}

    def claims(self, **changes: Any) -> dict[str, Any]:
        """Those of a good token, changed; None takes a claim away."""
        payload = jws.extract_compact(pod_token(self.tokens).encode()).payload
        changed = {**json.loads(payload or b""), **changes}
        return {name: value for name, value in changed.items() if value is not None}

    def signed(self, header: dict[str, Any] | str, claims: dict[str, Any] | str) -> str:
        """A token with a good signature over whatever that is; by PS256 where the header says so."""
        said = header if isinstance(header, str) else json.dumps(header)
        payload = claims if isinstance(claims, str) else json.dumps(claims)
        signed = f"{_base64url(said.encode())}.{_base64url(payload.encode())}"
        private = self.key.private_key
        if isinstance(private, rsa.RSAPrivateKey):
            of_pss = padding.PSS(padding.MGF1(hashes.SHA256()), hashes.SHA256.digest_size)
            kind = of_pss if "PS256" in said else padding.PKCS1v15()
            signature = private.sign(signed.encode(), kind, hashes.SHA256())
        else:
            assert isinstance(private, ec.EllipticCurvePrivateKey)
            r, s = decode_dss_signature(private.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))
            signature = r.to_bytes(32, "big") + s.to_bytes(32, "big")
        return f"{signed}.{_base64url(signature)}"


@pytest.fixture(params=[RSA, P256], ids=["RS256", "ES256"])
def issuer(request: pytest.FixtureRequest, tmp_path: Path) -> Issuer:
    return Issuer(request.param, tmp_path)


async def test_a_token_of_either_kind_of_key_is_attested(issuer: Issuer) -> None:
    assert (await issuer.attestor.attest(pod_token(issuer.tokens, "web-2"))).name == "web-2"


async def test_header_parameters_that_nobody_knows_are_ignored(issuer: Issuer) -> None:
    token = issuer.signed(issuer.header(typ="JWT", future="x"), issuer.claims())
    assert (await issuer.attestor.attest(token)).name == "web-1"


async def test_one_audience_among_others_and_one_that_is_no_list_are_ours(issuer: Issuer) -> None:
    for audience in ([AUDIENCE, "other"], AUDIENCE):
        token = issuer.signed(issuer.header(), issuer.claims(aud=audience))
        assert (await issuer.attestor.attest(token)).name == "web-1"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"iss": "https://elsewhere.example"}, "TokenNotAuthenticated"),
        ({"iss": [ISSUER]}, "TokenNotAuthenticated"),
        ({"iss": None}, "TokenNotAuthenticated"),
        ({"sub": None}, "NotAServiceAccount"),
        ({"exp": None}, "TokenNotAuthenticated"),
        ({"exp": "never"}, "TokenNotAuthenticated"),
        ({"exp": True}, "TokenExpired"),
        ({"exp": float("nan")}, "TokenExpired"),
        ({"nbf": float("nan")}, "TokenNotYetValid"),
        ({"kubernetes.io": {"namespace": "shop", "pod": {"name": 7, "uid": "u"}}}, "TokenNotBoundToPod"),
        ({"kubernetes.io": {"namespace": "shop", "pod": {"name": "a", "uid": [1]}}}, "TokenNotBoundToPod"),
        ({"aud": None}, "TokenOfOtherAudience"),
        ({"aud": []}, "TokenOfOtherAudience"),
        ({"aud": {AUDIENCE: 1}}, "TokenOfOtherAudience"),
        ({"aud": f"{AUDIENCE}/"}, "TokenOfOtherAudience"),
        ({"aud": [[AUDIENCE]]}, "TokenOfOtherAudience"),
        ({"aud": [AUDIENCE, 7]}, "TokenOfOtherAudience"),
        ({"aud": [AUDIENCE, None]}, "TokenOfOtherAudience"),
    ],
)
async def test_attack_claims_that_are_not_what_they_should_be(
    issuer: Issuer, changes: dict[str, Any], reason: str
) -> None:
    token = issuer.signed(issuer.header(), issuer.claims(**changes))
    with pytest.raises(TokenRefused) as caught:
        await issuer.attestor.attest(token)
    assert caught.value.reason == reason


@pytest.mark.parametrize("crit", [["future"], ["alg"], [], 7, None, True, [[]], [{}], [7], [None]], ids=str)
async def test_attack_a_signed_header_that_demands_what_nobody_here_understands(
    issuer: Issuer, crit: object
) -> None:
    with pytest.raises(TokenRefused):
        await issuer.attestor.attest(issuer.signed(issuer.header(crit=crit, future="x"), issuer.claims()))


@pytest.mark.parametrize("more", [{"b64": False}, {"b64": False, "crit": ["b64"]}], ids=str)
async def test_attack_a_signed_header_that_changes_the_meaning_of_the_rest(
    issuer: Issuer, more: dict[str, Any]
) -> None:
    with pytest.raises(TokenRefused):
        await issuer.attestor.attest(issuer.signed(issuer.header(**more), issuer.claims()))


@pytest.mark.parametrize("deep", ["[" * 20_000, "[" * 20_000 + "]" * 20_000, '{"a":' * 20_000])
async def test_attack_a_token_nested_deeper_than_anybody_reads(issuer: Issuer, deep: str) -> None:
    for token in (issuer.signed(deep, issuer.claims()), issuer.signed(issuer.header(), deep)):
        with pytest.raises(TokenRefused):
            await issuer.attestor.attest(token)


async def test_attack_a_header_whose_words_would_be_told_to_others(issuer: Issuer) -> None:
    token = issuer.signed({**issuer.header(), "alg": "your cluster is owned"}, issuer.claims())
    with pytest.raises(TokenRefused) as caught:
        await issuer.attestor.attest(token)
    assert "owned" not in str(caught.value)


async def test_an_identifier_of_a_key_may_be_as_long_as_signers_make_them(tmp_path: Path) -> None:
    issuer = Issuer(RSA, tmp_path)
    issuer.publish(kid="k" * 1024)
    token = issuer.signed(issuer.header(kid="k" * 1024), issuer.claims())
    assert (await issuer.attestor.attest(token)).name == "web-1"


async def test_attack_a_token_whose_secret_is_the_public_key(issuer: Issuer) -> None:
    """Everybody knows the published key; a check that believes the header would take it for a secret."""
    for secret in (
        issuer.key.public_key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        json.dumps(issuer.key.as_dict(private=False)).encode(),
    ):
        signed = f"{_encoded({**issuer.header(), 'alg': 'HS256'})}.{_encoded(issuer.claims())}"
        forged = f"{signed}.{_base64url(hmac.digest(secret, signed.encode(), 'sha256'))}"
        with pytest.raises(TokenRefused):
            await issuer.attestor.attest(forged)


@pytest.mark.parametrize("algorithm", ["none", "None", "", "PS256", "ES384", "RS512", None, 7, ["RS256"]])
async def test_attack_another_algorithm_and_no_signature(issuer: Issuer, algorithm: object) -> None:
    """Each with a signature by the issuer's key, which holds by its algorithm in the case of PS256."""
    signed = issuer.signed({**issuer.header(), "alg": algorithm}, issuer.claims())
    for forged in (signed, signed[: signed.rindex(".") + 1]):
        with pytest.raises(TokenRefused):
            await issuer.attestor.attest(forged)


@pytest.mark.parametrize(
    "unusable",
    [
        {"kty": "AKP", "kid": "k", "alg": "ML-DSA-44", "pub": "x"},
        {"kty": "EC", "kid": "k", "crv": "BP-256", "x": "AA", "y": "AA"},
        {"kty": "EC", "kid": "k", "crv": "P-256", "x": "AA"},
        {"kty": "OKP", "kid": "k", "crv": "Ed999", "x": "AA"},
        {"kty": "RSA", "kid": "k", "n": "AQAB=", "e": "AQAB"},
        {"kid": "k"},
        {"kty": "RSA", "kid": None, "n": "AQAB", "e": "AQAB"},
        {"kty": "RSA", "kid": 7, "n": "AQAB", "e": "AQAB"},
        {"kty": "RSA", "n": "AQAB", "e": "AQAB"},
        {"kty": [], "kid": "k"},
        7,
    ],
    ids=str,
)
async def test_a_key_that_is_of_no_use_does_not_hide_the_others(tmp_path: Path, unusable: object) -> None:
    issuer = Issuer(P256, tmp_path)
    issuer.publish(unusable)
    assert (await issuer.attestor.attest(pod_token(issuer.tokens))).name == "web-1"


@pytest.mark.parametrize("more", [{"use": "sig"}, {"key_ops": ["future"]}, {"x5u": 7}, {"alg": "RS512"}])
async def test_what_a_key_says_of_itself_besides_is_not_looked_at(
    tmp_path: Path, more: dict[str, Any]
) -> None:
    issuer = Issuer(RSA, tmp_path)
    issuer.publish(**more)
    assert (await issuer.attestor.attest(pod_token(issuer.tokens))).name == "web-1"


async def test_a_key_for_encryption_signs_nothing(tmp_path: Path) -> None:
    issuer = Issuer(RSA, tmp_path)
    issuer.publish(use="enc")
    with pytest.raises(Unavailable, match="none of its keys"):
        await issuer.attestor.attest(pod_token(issuer.tokens))


@pytest.mark.parametrize(
    "document", ["", "[]", "{}", '{"keys": 1}', '{"keys": [1]}', '{"keys": []}', "[" * 20_000]
)
async def test_a_document_that_is_no_key_set_accuses_nobody(tmp_path: Path, document: str) -> None:
    issuer = Issuer(P256, tmp_path)
    issuer.file.write_text(document)
    with pytest.raises(Unavailable, match="key set"):
        await issuer.attestor.attest(pod_token(issuer.tokens))


async def test_a_key_set_that_hangs_is_not_waited_for_longer_than_said() -> None:
    keys = KeySource("https://issuer.example/jwks", _hang, Clock(), seconds=0.01)
    with pytest.raises(Unavailable, match=r"within 0\.01 s"):
        await keys.key("any")


async def test_so_many_tokens_wait_for_the_keys_and_no_more() -> None:
    keys = KeySource("https://issuer.example/jwks", _hang, Clock(), seconds=60)
    attestor = JwksAttestor(keys, issuer=ISSUER, audience=AUDIENCE, now=Clock())
    tasks = [asyncio.create_task(keys.key("any", (f"{number % 8}",))) for number in range(MOST_WAITING)]
    await asyncio.sleep(0)
    assert attestor.waiting == MOST_WAITING
    with pytest.raises(TooManyRequests) as caught:
        await keys.key("any")
    assert caught.value.limit == "token-reviews"
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert attestor.waiting == 0


async def _hang() -> str:
    await asyncio.Event().wait()
    return ""


def _encoded(part: dict[str, Any]) -> str:
    return _base64url(json.dumps(part).encode())


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
