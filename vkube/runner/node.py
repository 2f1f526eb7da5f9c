"""A node: the Pods that run on this machine, and their directories."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from vkube.runner.addresses import LoopbackAddresses
from vkube.runner.errors import UnsupportedPod
from vkube.runner.pod import RunningPod, Surroundings

# sockaddr_un.sun_path; what our directories leave of it is for the volume's files.
_LONGEST_SOCKET_PATH_BYTES = 107
_ROOM_FOR_FILES = 40


class Node:
    """Runs Pods. `directory` contains a directory for each; its path should be short, because the paths of
    Unix sockets in volumes are limited."""

    def __init__(
        self, directory: Path, surroundings: Surroundings, chance: random.Random | None = None
    ) -> None:
        """Raises UnsupportedPod when the directory's path is too long."""
        if len(str(directory).encode()) + _ROOM_FOR_FILES > _LONGEST_SOCKET_PATH_BYTES:
            raise UnsupportedPod(
                f"{directory} is too long a path for Pods' Unix sockets; choose one of at most "
                f"{_LONGEST_SOCKET_PATH_BYTES - _ROOM_FOR_FILES} bytes"
            )
        self._directory = directory
        self._surroundings = surroundings
        self._addresses = LoopbackAddresses(chance or random.Random())  # noqa: S311 - spreads, guards nothing
        self._count = 0
        self.pods: list[RunningPod] = []

    async def run(
        self, pod: Mapping[str, Any], changed: Callable[[RunningPod], None] = lambda _: None
    ) -> RunningPod:
        """Starts a Pod, and returns at once. Raises UnsupportedPod."""
        self._count += 1
        directory = self._directory / f"p{self._count}"
        directory.mkdir(parents=True)
        running = RunningPod(pod, self._addresses.allocate(), directory, self._surroundings, changed)
        self.pods.append(running)
        return running

    async def stop_pod(self, pod: RunningPod, grace_seconds: float | None = None) -> None:
        """Ends one Pod."""
        self.pods.remove(pod)
        await pod.stop(grace_seconds)

    async def stop(self, grace_seconds: float | None = None) -> None:
        """Ends all Pods. One that cannot be ended as it should does not shorten the grace of the others; its
        error is raised when they have ended."""
        pods, self.pods = self.pods, []
        ends = [asyncio.create_task(pod.stop(grace_seconds)) for pod in pods]
        if ends:
            await asyncio.wait(ends)
        for end in ends:
            await end
