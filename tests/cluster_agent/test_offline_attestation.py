"""Tokens checked against the issuer's keys: what keys and headers they may have, and forgeries."""

from __future__ import annotations

import asyncio
import base64
import hmac
import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from joserfc import jws
from joserfc.jwk import ECKey, RSAKey

from cluster_agent.attestation import TokenRefused
from cluster_agent.attestation.jwks import JwksAttestor, KeySource
from cluster_agent.errors import Unavailable
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
        file = directory / "jwks.json"
        file.write_text(self.tokens.jwks())
        keys = key_source(file, self.clock)
        self.attestor = JwksAttestor(keys, issuer=ISSUER, audience=AUDIENCE, now=self.clock)

    def header(self, **more: Any) -> dict[str, Any]:
        return {"alg": self.algorithm, "kid": self.key.thumbprint(), **more}

    def claims(self, **changes: Any) -> dict[str, Any]:
        """Those of a good token, changed; None takes a claim away."""
        payload = jws.extract_compact(pod_token(self.tokens).encode()).payload
        changed = {**json.loads(payload or b""), **changes}
        return {name: value for name, value in changed.items() if value is not None}

    def signed(self, header: dict[str, Any], claims: dict[str, Any]) -> str:
        registry = jws.JWSRegistry(algorithms=[self.algorithm], strict_check_header=False)
        return jws.serialize_compact(header, json.dumps(claims).encode(), self.key, registry=registry)


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
        ({"sub": None}, "TokenNotAuthenticated"),
        ({"exp": None}, "TokenNotAuthenticated"),
        ({"exp": "never"}, "TokenNotAuthenticated"),
        ({"exp": True}, "TokenExpired"),
        ({"exp": float("nan")}, "TokenExpired"),
        ({"nbf": float("nan")}, "TokenNotYetValid"),
        ({"aud": None}, "TokenOfOtherAudience"),
        ({"aud": []}, "TokenOfOtherAudience"),
        ({"aud": {AUDIENCE: 1}}, "TokenOfOtherAudience"),
        ({"aud": f"{AUDIENCE}/"}, "TokenOfOtherAudience"),
        ({"aud": [[AUDIENCE]]}, "TokenOfOtherAudience"),
    ],
)
async def test_attack_claims_that_are_not_what_they_should_be(
    issuer: Issuer, changes: dict[str, Any], reason: str
) -> None:
    token = issuer.signed(issuer.header(), issuer.claims(**changes))
    with pytest.raises(TokenRefused) as caught:
        await issuer.attestor.attest(token)
    assert caught.value.reason == reason


async def test_attack_a_header_that_demands_what_nobody_here_understands(issuer: Issuer) -> None:
    token = issuer.signed(issuer.header(), issuer.claims())
    critical = issuer.header(crit=["future"], future="x")
    forged = ".".join((_encoded(critical), *token.split(".")[1:]))
    with pytest.raises(TokenRefused):
        await issuer.attestor.attest(forged)


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


@pytest.mark.parametrize("algorithm", ["none", "None", "", "PS256", "ES384", None, 7])
async def test_attack_another_algorithm_and_no_signature(issuer: Issuer, algorithm: object) -> None:
    good = issuer.signed(issuer.header(), issuer.claims())
    header, claims, signature = good.split(".")
    other = _encoded({**issuer.header(), "alg": algorithm})
    for forged in (f"{other}.{claims}.", f"{other}.{claims}.{signature}", f"{header}.{claims}."):
        with pytest.raises(TokenRefused):
            await issuer.attestor.attest(forged)


async def test_keys_of_kinds_that_nobody_knows_do_not_hide_the_others(tmp_path: Path) -> None:
    issuer = Issuer(P256, tmp_path)
    keys = json.loads((tmp_path / "jwks.json").read_text())["keys"]
    document = {"keys": [{"kty": "AKP", "kid": "future", "alg": "ML-DSA-44", "pub": "x"}, *keys]}
    (tmp_path / "jwks.json").write_text(json.dumps(document))
    assert (await issuer.attestor.attest(pod_token(issuer.tokens))).name == "web-1"


@pytest.mark.parametrize("document", ["", "[]", "{}", '{"keys": 1}', '{"keys": [1]}', '{"keys": []}'])
async def test_a_document_that_is_no_key_set_accuses_nobody(tmp_path: Path, document: str) -> None:
    issuer = Issuer(P256, tmp_path)
    (tmp_path / "jwks.json").write_text(document)
    with pytest.raises(Unavailable, match="key set"):
        await issuer.attestor.attest(pod_token(issuer.tokens))


async def test_a_key_set_that_hangs_is_not_waited_for_longer_than_said() -> None:
    async def hang() -> str:
        await asyncio.Event().wait()
        return ""

    keys = KeySource("https://issuer.example/jwks", hang, Clock(), seconds=0.01)
    with pytest.raises(Unavailable, match=r"within 0\.01 s"):
        await keys.key("any")


def _encoded(part: dict[str, Any]) -> str:
    return _base64url(json.dumps(part).encode())


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
