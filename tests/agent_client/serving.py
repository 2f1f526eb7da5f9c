"""The agent protocol in this process, for what its client does."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn

from pod_agent.agent_protocol import AgentProtocol
from pod_agent.identity import CurrentIdentity
from pod_agent.revocation_lists import HeldLists
from pod_agent.sockets import listen_unix
from tests.pod_agent.running import short_directory


@contextmanager
def serving_agent_protocol(current: CurrentIdentity, lists: HeldLists) -> Iterator[Path]:
    """Its socket."""
    with short_directory() as directory:
        path = directory / "agent.sock"
        listener = listen_unix(path)
        app = AgentProtocol(current, lists).app()
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off"))
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        yield path
        server.should_exit = True
        thread.join()
