"""The agent protocol in this process, for what its client does."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from pod_agent.agent_protocol import AgentProtocol
from pod_agent.http.connection import HttpConnection
from pod_agent.identity import CurrentIdentity
from pod_agent.revocation_lists import HeldLists
from pod_agent.sockets import listen_unix
from service.bounded_log import BoundedLog
from service.log import get_logger
from tests.pod_agent.running import short_directory


@contextmanager
def serving_agent_protocol(current: CurrentIdentity, lists: HeldLists) -> Iterator[Path]:
    """Its socket."""
    with short_directory() as directory:
        path = directory / "agent.sock"
        made = partial(
            HttpConnection, AgentProtocol(current, lists).handler(), BoundedLog(get_logger("pod_agent"))
        )
        stop, listening = threading.Event(), listen_unix(path)

        async def serve() -> None:
            async with await asyncio.get_running_loop().create_unix_server(made, sock=listening):
                await asyncio.to_thread(stop.wait)

        thread = threading.Thread(target=lambda: asyncio.run(serve()))
        thread.start()
        try:
            yield path
        finally:
            stop.set()
            thread.join()
