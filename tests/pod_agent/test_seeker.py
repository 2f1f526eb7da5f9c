"""The seeker against a real cluster agent, with a keeper whose clock the test turns."""

from __future__ import annotations

import shutil
import signal
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from pod_agent.beginning import Beginning
from pod_agent.careful_seeker import CarefulSeeker
from pod_agent.errors import SeekError
from pod_agent.identity import CurrentIdentity
from pod_agent.keeper import Keeper
from pod_agent.seeker import ClusterAgentSeeker
from pod_agent.settings import Settings
from tests.cluster_agents import SERVER_NAME, RunningClusterAgent, running_cluster_agent
from tests.pod_agent.running import mount
from tests.pod_agent.test_keeper import Results
from tests.waiting import until


def now() -> datetime:
    return datetime.now(UTC)


def seeker(directory: Path, agent: RunningClusterAgent) -> ClusterAgentSeeker:
    """That of a pod agent whose files are in `directory`."""
    settings = Settings(
        cluster_agent_url=agent.url.replace("localhost", "127.0.0.1"),
        cluster_agent_server_name=SERVER_NAME,
        credential_file=directory / "credential.json",
        token_file=directory / "token",
    )
    return ClusterAgentSeeker(settings, now, Beginning(0))


async def test_a_certificate_that_the_cluster_agent_no_longer_knows_is_left_for_the_credential(
    tmp_path: Path, directory: Path
) -> None:
    ahead, current = timedelta(0), CurrentIdentity(now)
    with running_cluster_agent(tmp_path) as agent:
        mount(directory, agent)
        careful = CarefulSeeker(seeker(directory, agent), now=now, clock=time.monotonic, chance=lambda: 0.5)
        keeper = Keeper(careful, current, Results(), now=lambda: now() + ahead, chance=lambda: 0.5)

        async def has_version(version: int) -> bool:
            with suppress(SeekError):
                await keeper.round()
            return current.value is not None and current.value.version == version

        await until("an identity", lambda: has_version(1))
        agent.process.send_signal(signal.SIGKILL)
        agent.process.wait()
        shutil.rmtree(agent.data_directory)  # and with it the identity root
        port: Any = agent.flags["port"]
        with running_cluster_agent(tmp_path, port=port) as other:
            mount(directory, other)
            ahead = timedelta(minutes=35)  # beyond half of its life, and before its end
            await until("another identity", lambda: has_version(2))
