"""One Pod: its volumes, then init containers and sidecars in order, then its containers, and its end."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from vkube.runner.container import BackOff, Container
from vkube.runner.environment import expand, variables_of
from vkube.runner.errors import NotMountable, RunnerError, UnsupportedPod
from vkube.runner.paths import rewrite
from vkube.runner.process import Command
from vkube.runner.resources import Resources
from vkube.runner.services import NoServices, Services
from vkube.runner.status import pod_status
from vkube.runner.volumes import PodVolumes

_RETRY_SECONDS = 0.2
_DEFAULT_GRACE_SECONDS = 30


@dataclass(frozen=True)
class Surroundings:
    """What all Pods of a node share."""

    resources: Resources
    images: Mapping[str, Sequence[str]]
    extra_environment: Mapping[str, str] = field(default_factory=dict)
    back_off: BackOff = field(default_factory=BackOff)
    refresh_seconds: float = 5.0
    on_line: Callable[[str, str, str], None] = lambda _pod, _container, _line: None
    services: Services = field(default_factory=NoServices)


class RunningPod:
    """A Pod that is running. `status` is like a kubelet's; `changed` is called when it changes."""

    def __init__(
        self,
        pod: Mapping[str, Any],
        ip: str,
        directory: Path,
        surroundings: Surroundings,
        changed: Callable[[RunningPod], None],
    ) -> None:
        """Raises UnsupportedPod."""
        self.pod = pod
        self.name: str = pod["metadata"]["name"]
        self.namespace: str = pod["metadata"]["namespace"]
        self.ip = ip
        self.directory = directory
        self._surroundings = surroundings
        self._changed = changed
        self._changes = asyncio.Event()
        self._volumes = PodVolumes(pod, ip, directory, surroundings.resources)
        for container in [*(pod["spec"].get("initContainers") or []), *pod["spec"]["containers"]]:
            self._mounts(container)  # raises UnsupportedPod now, not when the container starts
        self._since = datetime.now(UTC)
        self._problem = ""
        self._initialized = self._finished = self._failed_init = self._stopping = False
        spec = pod["spec"]
        given = spec.get("terminationGracePeriodSeconds")
        self._grace_seconds: float = _DEFAULT_GRACE_SECONDS if given is None else given
        policy = spec.get("restartPolicy") or "Always"
        self._init = [
            self._container(one, _init_policy(one, policy)) for one in spec.get("initContainers") or []
        ]
        self._main = [self._container(one, policy) for one in spec["containers"]]
        self._sidecars: dict[Container, asyncio.Task[int]] = {}
        self._running = asyncio.create_task(self._run())

    @property
    def status(self) -> dict[str, Any]:
        return pod_status(
            init=self._init,
            main=self._main,
            initialized=self._initialized,
            finished=self._finished,
            failed_init=self._failed_init,
            pod_ip=self.ip,
            since=self._since,
            problem=self._problem,
        )

    @property
    def is_ready(self) -> bool:
        return any(one["type"] == "Ready" and one["status"] == "True" for one in self.status["conditions"])

    @property
    def is_finished(self) -> bool:
        """Whether it has ended by itself, or was stopped."""
        return self._running.done()

    async def wait_ready(self, seconds: float) -> None:
        """Waits until the Pod is ready. Raises RunnerError when it is not ready in time, or has ended."""
        try:
            async with asyncio.timeout(seconds):
                while not self.is_ready:
                    if self._finished or self._failed_init:
                        raise RunnerError(f"pod {self.name} ended: {self._story()}")
                    await self._next_change()
        except TimeoutError as error:
            raise RunnerError(f"pod {self.name} is not ready after {seconds:g} s: {self._story()}") from error

    async def wait_finished(self) -> dict[str, Any]:
        """Waits until the Pod has ended, and returns its status."""
        await asyncio.wait([self._running])
        return self.status

    async def execute(self, container: str, argv: Sequence[str]) -> tuple[int, str]:
        """Runs a command in a container's environment; returns its exit code and output."""
        return await self._named(container).execute(argv)

    def log_of(self, container: str) -> str:
        """The container's output since its last start."""
        try:
            return self._named(container).log_file.read_text()
        except FileNotFoundError:
            return ""

    def path_in(self, container: str, path: str) -> Path:
        """The path on this machine for a path in that container."""
        return Path(rewrite(path, self._mounts(self._named(container).spec)))

    async def stop(self, grace_seconds: float | None = None) -> None:
        """Ends the Pod within the grace period: its containers, then its sidecars in reverse order."""
        grace = self._grace_seconds if grace_seconds is None else grace_seconds
        deadline = time.monotonic() + grace
        self._stopping = True
        await asyncio.gather(*(one.stop(grace) for one in self._main))
        for container in reversed(self._init):
            await container.stop(max(0.5, deadline - time.monotonic()))
        # Not cancelled: all its tasks end by themselves now, after their own clean-up.
        await self._running
        await asyncio.gather(*self._sidecars.values())

    async def _run(self) -> None:
        if not await self._mount():
            return
        refreshing = asyncio.create_task(self._refresh())
        tasks: list[asyncio.Task[int]] = []
        try:
            if not await self._initialize():
                self._failed_init = True
                return
            self._initialized = True
            self._note_change()
            tasks = [asyncio.create_task(one.run()) for one in self._main]
            await asyncio.gather(*tasks)
            self._finished = True
            for container in reversed(list(self._sidecars)):
                await container.stop(self._grace_seconds)
        finally:
            refreshing.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._note_change()

    async def _mount(self) -> bool:
        """Mounts every volume, once all that they need exists; returns False when that can never be, and
        when stopped before."""
        while not self._stopping:
            try:
                await self._volumes.refresh()
            except (NotMountable, OSError) as error:
                self._problem = f"FailedMount: {error}"
                self._note_change()
            except UnsupportedPod as error:
                self._problem = f"UnsupportedPod: {error}"
                self._failed_init = True
                self._note_change()
                return False
            else:
                self._problem = ""
                return True
            await asyncio.sleep(_RETRY_SECONDS)
        return False

    async def _refresh(self) -> None:
        while True:
            await asyncio.sleep(self._surroundings.refresh_seconds)
            # A mounted volume stays when its source is temporarily gone, or the disk full.
            with suppress(NotMountable, OSError):
                await self._volumes.refresh()

    async def _initialize(self) -> bool:
        """Runs init containers one after the other; a sidecar counts as done once it has started."""
        for container in self._init:
            if container.spec.get("restartPolicy") != "Always":
                if await container.run() != 0:
                    return False
                continue
            task = self._sidecars[container] = asyncio.create_task(container.run())
            started = asyncio.create_task(container.started.wait())
            await asyncio.wait([started, task], return_when=asyncio.FIRST_COMPLETED)
            started.cancel()
            if task.done():
                return False
        return True

    def _container(self, spec: Mapping[str, Any], policy: str) -> Container:
        return Container(
            spec,
            policy,
            pod_ip=self.ip,
            pod_grace_seconds=self._grace_seconds,
            log_directory=self.directory / "logs",
            command=partial(self._command, spec),
            changed=self._note_change,
            on_line=lambda container, line: self._surroundings.on_line(self.name, container, line),
            back_off=self._surroundings.back_off,
        )

    async def _command(self, spec: Mapping[str, Any]) -> Command:
        services = self._surroundings.services
        declared = await variables_of(
            spec, self.pod, self.ip, self._surroundings.resources, services.variables(self.pod)
        )
        argv = list(spec.get("command") or self._entrypoint(spec))
        argv = [expand(part, declared) for part in [*argv, *(spec.get("args") or [])]]
        mounts = self._mounts(spec, declared)
        surrounding = {
            "PATH": f"{Path(sys.executable).parent}:{os.environ.get('PATH', os.defpath)}",
            "HOME": str(self.directory),
            "LANG": "C.UTF-8",
            "HOSTNAME": self.name,
            "PYTHONUNBUFFERED": "1",
            **self._surroundings.extra_environment,
        }

        def local(text: str) -> str:
            return services.addressed(rewrite(text, mounts), self.namespace)

        variables = {name: local(value) for name, value in declared.items()}
        return Command(
            [local(part) for part in argv],
            {**surrounding, **variables},
            Path(rewrite(spec["workingDir"], mounts)) if spec.get("workingDir") else self.directory,
        )

    def _entrypoint(self, spec: Mapping[str, Any]) -> Sequence[str]:
        image, images = str(spec.get("image") or ""), self._surroundings.images
        for name in _names_of(image):
            if name in images:
                return images[name]
        raise UnsupportedPod(
            f"container {spec['name']!r} has no command, and no image is pulled here: what {image!r} "
            f"runs is not known. Add a command to the manifest, or name one with --image {image}=COMMAND"
        )

    def _mounts(self, spec: Mapping[str, Any], variables: Mapping[str, str] | None = None) -> dict[str, Path]:
        return {
            mount["mountPath"]: self._volumes.mounted(mount, variables or {})
            for mount in spec.get("volumeMounts") or []
        }

    def _named(self, container: str) -> Container:
        for one in [*self._init, *self._main]:
            if one.name == container:
                return one
        raise RunnerError(f"pod {self.name} has no container {container!r}")

    def _story(self) -> str:
        """A description of its containers' states, for an error's text."""
        states = [f"{one.name}: {one.state.json()}" for one in [*self._init, *self._main]]
        return "; ".join([self._problem, *states] if self._problem else states)

    def _note_change(self) -> None:
        self._changes.set()
        self._changed(self)

    async def _next_change(self) -> None:
        self._changes.clear()
        await self._changes.wait()


def _init_policy(spec: Mapping[str, Any], pod_policy: str) -> str:
    if spec.get("restartPolicy") == "Always":
        return "Always"
    return "Never" if pod_policy == "Never" else "OnFailure"


def _names_of(image: str) -> list[str]:
    """An image's reference as it is written, without its digest, and without its tag."""
    name = image.split("@")[0]
    head, slash, last = name.rpartition("/")
    return [image, name, head + slash + last.split(":")[0]]
