"""The claimed agent that the tests of the registry share."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.cluster_agent.registry.claimed import Claimed


@pytest.fixture
async def claimed(tmp_path: Path, store_url: str) -> AsyncIterator[Claimed]:
    agent = Claimed(tmp_path, store_url)
    await agent.claim()
    yield agent
    await agent.store.close()
