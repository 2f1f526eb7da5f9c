"""The program with an API server that reviews slowly, which a real one cannot be made to do."""

from __future__ import annotations

import asyncio
import ssl
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
from aiohttp import web

from blessings import Blessing, Principal
from blessings.tls import client_context
from tests.cluster_agents import (
    AUDIENCE,
    RunningClusterAgent,
    running_cluster_agent,
    write_serving_files,
)
from tests.csrs import csr_of
from tests.waiting import PATIENCE_SECONDS, until
from tests.web_servers import answering

REVIEW_SECONDS = 0.2
ATTACKERS = 60


async def review(request: web.Request) -> web.StreamResponse:
    """Reviews the token `web-1 of shop/web`, by its words; knows no other resource."""
    if not request.path.endswith("/tokenreviews"):
        return web.json_response({"code": 404}, status=404)
    await asyncio.sleep(REVIEW_SECONDS)
    pod, _, application = (await request.json())["spec"]["token"].partition(" of ")
    if not application:
        return web.json_response({"status": {"authenticated": False}})
    user = {
        "username": "system:serviceaccount:" + application.replace("/", ":"),
        "extra": {
            "authentication.kubernetes.io/pod-name": [pod],
            "authentication.kubernetes.io/pod-uid": [f"uid-of-{pod}"],
        },
    }
    return web.json_response({"status": {"authenticated": True, "audiences": [AUDIENCE], "user": user}})


@asynccontextmanager
async def agent_with_slow_reviews(directory: Path) -> AsyncIterator[RunningClusterAgent]:
    write_serving_files(directory)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(directory / "tls.crt", directory / "tls.key")
    (directory / "token").write_text("the-agents-own-token")
    (directory / "agent").mkdir()
    async with answering(review, tls) as url:
        with running_cluster_agent(
            directory / "agent",
            attestor="token-review",
            kubernetes_api_url=url,
            kubernetes_ca_file=directory / "ca.crt",
            kubernetes_token_file=directory / "token",
            token_reviews_at_a_time=4,
        ) as agent:
            yield agent


def client(agent: RunningClusterAgent, credential: dict[str, str]) -> httpx.AsyncClient:
    principal = Principal.from_pem(credential["privateKey"].encode())
    chain = Blessing.from_pem(credential["certificateChain"])
    context = client_context(principal, chain, agent.server_roots)
    limits = httpx.Limits(max_connections=ATTACKERS)
    return httpx.AsyncClient(base_url=agent.url, verify=context, timeout=PATIENCE_SECONDS, limits=limits)


async def seek(client: httpx.AsyncClient, token: str) -> int:
    body = {"csr": csr_of(Principal.create()), "token": token}
    return (await client.post("/v1/seek-blessings", json=body)).status_code


async def test_attack_junk_tokens_of_one_credential_keep_no_other_tenant_waiting(tmp_path: Path) -> None:
    async with agent_with_slow_reviews(tmp_path) as agent:
        hostile = await asyncio.to_thread(agent.new_secret, "hostile", "web")
        other = await asyncio.to_thread(agent.new_secret)
        statuses: Counter[int] = Counter()
        over = asyncio.Event()
        async with (
            client(agent, hostile["credential"]) as attacker,
            client(agent, other["credential"]) as web,
        ):

            async def attack() -> None:
                while not over.is_set():
                    statuses[await seek(attacker, "junk")] += 1

            attacks = [asyncio.create_task(attack()) for _ in range(ATTACKERS)]
            await until("a full queue", lambda: statuses[429])
            assert [await seek(web, f"web-{number} of shop/web") for number in range(11)] == [200] * 11
            # Not cancelled: a connection that is just being made would be left open.
            over.set()
            await asyncio.gather(*attacks)
        assert statuses[403] > 0
