"""Where key sets are read from, with a real TLS server of an authority that the environment names or not."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from aiohttp import web

from cluster_agent.attestation.jwks import JwksAttestor
from cluster_agent.attestation.key_documents import reading
from cluster_agent.attestation.key_source import KeySource
from cluster_agent.errors import Unavailable
from tests.cluster_agents import AUDIENCE, ISSUER, pod_token, write_serving_files
from tests.web_servers import answering
from vkube.local.token_issuer import TokenIssuer


@asynccontextmanager
async def published(document: str, directory: Path) -> AsyncIterator[str]:
    """The HTTPS address of a document; the server's authority is in `directory`/ca.crt."""
    write_serving_files(directory)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(directory / "tls.crt", directory / "tls.key")

    async def answer(request: web.Request) -> web.Response:
        if request.path == "/moved":
            raise web.HTTPFound(f"http://{request.host}/openid/v1/jwks")
        if request.path != "/openid/v1/jwks":
            raise web.HTTPNotFound
        return web.Response(text=document, content_type="application/jwk-set+json")

    async with answering(answer, context) as address:
        yield address


def now() -> datetime:
    return datetime.now(UTC)


async def assert_unavailable(location: str, match: str) -> None:
    async with reading(location) as read:
        with pytest.raises(Unavailable, match=match):
            await KeySource(location, read, now).key("any")


async def test_a_key_set_at_an_address_whose_authority_the_environment_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens = TokenIssuer(ISSUER, now)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.crt"))
    async with published(tokens.jwks(), tmp_path) as address:
        location = f"{address}/openid/v1/jwks"
        async with reading(location) as read:
            attestor = JwksAttestor(KeySource(location, read, now), issuer=ISSUER, audience=AUDIENCE, now=now)
            assert (await attestor.attest(pod_token(tokens))).name == "web-1"
        await assert_unavailable(f"{address}/elsewhere", "404")


async def test_attack_a_redirect_to_where_anybody_may_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.crt"))
    async with published(TokenIssuer(ISSUER, now).jwks(), tmp_path) as address:
        await assert_unavailable(f"{address}/moved", "HTTP 302")


async def test_attack_a_key_set_of_a_server_that_no_authority_vouches_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    monkeypatch.delenv("SSL_CERT_DIR", raising=False)
    async with published(TokenIssuer(ISSUER, now).jwks(), tmp_path) as address:
        await assert_unavailable(f"{address}/openid/v1/jwks", "ClientConnectorCertificateError")
