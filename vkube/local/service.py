"""One of our services as a local process: starts it, waits until it is ready, ends it."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import httpx

from vkube.errors import LocalModeError
from vkube.runner.process import Command, Process

_READY_SECONDS = 300.0
_LOOK_SECONDS = 0.05
_STOP_SECONDS = 15.0
# Settings of the user's own installation are none of local mode's.
_OURS = ("VANADIUM_", "V23_", "SPIFFE_")


class Service:
    """A running service. `log` is the file with its output."""

    def __init__(self, name: str, process: Process, log: Path) -> None:
        self._name = name
        self._process = process
        self.log = log
        self.ended = asyncio.create_task(process.wait())

    @classmethod
    async def start(cls, name: str, module: str, settings: Mapping[str, object], directory: Path) -> Service:
        """Starts `python -m <module>` with `settings` as its flags. Raises RunnerError."""
        flags = [f"--{key.replace('_', '-')}={value}" for key, value in settings.items()]
        log = directory / f"{name}.log"
        file = log.open("w")

        def note(line: str) -> None:
            file.write(line + "\n")
            file.flush()

        environment = {name: value for name, value in os.environ.items() if not name.startswith(_OURS)}
        command = Command([sys.executable, "-m", module, *flags], environment, directory)
        service = cls(name, await Process.start(command, note), log)
        service.ended.add_done_callback(lambda _: file.close())
        return service

    async def ready(self, client: httpx.AsyncClient, url: str) -> None:
        """Waits until `url` answers 200. Raises LocalModeError when the service ends or is not ready in
        time."""
        ends_at = time.monotonic() + _READY_SECONDS
        while time.monotonic() < ends_at:
            if self.ended.done():
                raise LocalModeError(f"the {self._name} ended with {self.ended.result()}:\n{self._tail()}")
            try:
                if (await client.get(url)).status_code == httpx.codes.OK:
                    return
            except httpx.TransportError:
                pass  # not listening yet
            await asyncio.sleep(_LOOK_SECONDS)
        raise LocalModeError(f"the {self._name} is not ready after {_READY_SECONDS:g} s:\n{self._tail()}")

    async def stop(self) -> None:
        """Sends SIGTERM, and SIGKILL after some seconds."""
        if self.ended.done():
            return
        self._process.signal(signal.SIGTERM)
        _, late = await asyncio.wait([self.ended], timeout=_STOP_SECONDS)
        if late:
            self._process.signal(signal.SIGKILL)
            await self.ended

    def _tail(self) -> str:
        return "\n".join(self.log.read_text().splitlines()[-10:])


def free_port(address: str) -> int:
    """A TCP port of that address at which nobody listens now, neither there nor at every address."""
    with socket.socket() as probe:
        probe.bind((address, 0))
        port: int = probe.getsockname()[1]
        return port
