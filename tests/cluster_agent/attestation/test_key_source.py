"""The issuer's keys: read when needed, and what is said when they cannot be."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from cluster_agent.attestation import TokenRefused
from cluster_agent.attestation.jwks import JwksAttestor
from cluster_agent.attestation.key_source import MOST_WAITING_OF_ONE, KeySource
from cluster_agent.errors import TooManyRequests, Unavailable
from tests.clock import Clock
from tests.cluster_agents import AUDIENCE, ISSUER, key_source, pod_token
from vkube.local.token_issuer import TokenIssuer


async def test_a_key_set_that_cannot_be_read_accuses_nobody(tmp_path: Path) -> None:
    clock = Clock()
    tokens = TokenIssuer(ISSUER, clock)
    keys = key_source(tmp_path / "jwks.json", clock)
    attestor = JwksAttestor(keys, issuer=ISSUER, audience=AUDIENCE, now=clock)
    for _ in range(2):  # the second time without trying to read again
        with pytest.raises(Unavailable):
            await attestor.attest(pod_token(tokens))
    (tmp_path / "jwks.json").write_text(tokens.jwks())
    clock.turn(seconds=30)
    assert (await attestor.attest(pod_token(tokens))).name == "web-1"


async def test_tokens_that_come_together_at_first_are_all_attested(tmp_path: Path) -> None:
    clock = Clock()
    tokens = TokenIssuer(ISSUER, clock)
    (tmp_path / "jwks.json").write_text(tokens.jwks())
    keys = key_source(tmp_path / "jwks.json", clock)
    attestor = JwksAttestor(keys, issuer=ISSUER, audience=AUDIENCE, now=clock)
    pods = await asyncio.gather(*(attestor.attest(pod_token(tokens, f"web-{n}")) for n in range(5)))
    assert [pod.name for pod in pods] == [f"web-{n}" for n in range(5)]


async def test_a_new_key_of_the_issuer_is_found_but_not_looked_for_at_every_forgery(tmp_path: Path) -> None:
    clock = Clock()
    old, new = TokenIssuer(ISSUER, clock), TokenIssuer(ISSUER, clock)
    file = tmp_path / "jwks.json"
    file.write_text(old.jwks())
    attestor = JwksAttestor(key_source(file, clock), issuer=ISSUER, audience=AUDIENCE, now=clock)
    await attestor.attest(pod_token(old))
    file.write_text(new.jwks())
    with pytest.raises(TokenRefused):
        await attestor.attest(pod_token(new))
    clock.turn(seconds=30)
    await attestor.attest(pod_token(new))


async def test_attack_tokens_of_one_namespace_that_wait_for_the_keys_leave_room_for_others() -> None:
    clock, come = Clock(), asyncio.Event()
    tokens = TokenIssuer(ISSUER, clock)

    async def read() -> str:
        await come.wait()
        return tokens.jwks()

    attestor = JwksAttestor(KeySource("slow", read, clock), issuer=ISSUER, audience=AUDIENCE, now=clock)
    flood = [asyncio.create_task(attestor.attest(pod_token(tokens), ("hostile",))) for _ in range(300)]
    await asyncio.sleep(0)
    other = asyncio.create_task(attestor.attest(pod_token(tokens), ("shop",)))
    await asyncio.sleep(0)
    come.set()
    assert (await other).name == "web-1"
    outcomes = await asyncio.gather(*flood, return_exceptions=True)
    assert sum(isinstance(one, TooManyRequests) for one in outcomes) == 300 - MOST_WAITING_OF_ONE
