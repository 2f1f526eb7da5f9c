"""The awaited client gives the same answers as the blocking one, and raises the same errors."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from pathlib import Path

import pytest

from agent_client import AgentClient, AgentError, AsyncAgentClient, ServedBlessing
from blessings import Name, Principal, RevocationLists, Roots, verify_signature
from pod_agent.identity import CurrentIdentity, Identity
from pod_agent.revocation_lists import HeldLists
from tests.agent_client.serving import serving_agent_protocol
from tests.chains import HOUR, NOW, realm
from tests.clock import Clock
from tests.pod_agent.published_lists import APPLICATION, Source
from tests.waiting import PATIENCE_SECONDS


def test_every_call_answers_as_that_of_the_blocking_client() -> None:
    current = CurrentIdentity(Clock(NOW))
    one = realm()
    identity = Identity(1, one.replica, one.blessing, one.blessing.presented, one.roots, NOW + HOUR / 2)
    asyncio.run(current.set(identity))
    with serving_agent_protocol(current, HeldLists(Source())) as path:
        with AgentClient(path) as blocking:
            expected = blocking.names(), blocking.chain(), blocking.roots()
        asyncio.run(_ask(path, *expected))


async def _ask(path: Path, names: list[Name], served: ServedBlessing, roots: Roots) -> None:
    async with AsyncAgentClient(path) as agent:
        assert (await agent.names(), await agent.chain(), await agent.roots()) == (names, served, roots)
        async with aclosing(agent.watch()) as watch:
            assert await anext(watch) == served
        signature = await agent.sign(b"message")
        assert verify_signature(served.blessing.public_key, b"message", signature.signature)
        phone = await agent.bless(Principal.create().public_key, "phone", lifetime=HOUR / 4)
        assert str(phone.presented) == f"{names[0]}:phone"
        assert await agent.revocation_lists(Name.parse(APPLICATION)) == RevocationLists()


def test_a_refusal_is_the_same_error() -> None:
    async def names(path: Path) -> None:
        async with AsyncAgentClient(path) as agent:
            await agent.names()

    current = CurrentIdentity(Clock(NOW))
    with serving_agent_protocol(current, HeldLists(Source())) as path:
        with pytest.raises(AgentError) as caught:
            asyncio.run(names(path))
        assert caught.value.reason == "NotYetBlessed"


async def test_without_a_pod_agent_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with AsyncAgentClient(tmp_path / "agent.sock") as agent:
        with pytest.raises(AgentError, match="no answer from the pod agent"):
            await asyncio.wait_for(agent.names(), PATIENCE_SECONDS)
    monkeypatch.delenv("V23_AGENT_PATH", raising=False)
    with pytest.raises(AgentError, match="V23_AGENT_PATH is not set"):
        AsyncAgentClient()
