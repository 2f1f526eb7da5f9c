"""The API server's objects of a node's Pods: their status is written, and they are deleted."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from http import HTTPStatus
from typing import Any

import structlog
from kubernetes import client

from vkube.runner.api_client import FAILURES, brief, ignoring
from vkube.runner.container import BackOff

_log = structlog.get_logger("vkube.runner")


class PodObjects:
    """Writes and deletes the objects. A call that is refused or not answered is made again, after growing
    pauses, until it succeeds or `close` is called."""

    def __init__(self, core: client.CoreV1Api, back_off: BackOff) -> None:
        self._core = core
        self._back_off = back_off
        self._closed = asyncio.Event()

    def close(self) -> None:
        """From now on each call makes one attempt. Calls that pause return."""
        self._closed.set()

    async def write(self, pod: Mapping[str, Any], status: Callable[[], Mapping[str, Any]]) -> None:
        """Returns once the API server has the status, which is asked for anew before each attempt."""
        await self._persist(pod, "status not written", lambda: asyncio.to_thread(self._write, pod, status()))

    async def write_once(self, pod: Mapping[str, Any], status: Mapping[str, Any]) -> None:
        """Makes one attempt to write the status."""
        try:
            await asyncio.to_thread(self._write, pod, status)
        except FAILURES as error:
            _log.warning("status not written", pod=pod["metadata"]["name"], error=brief(error))

    async def delete(self, pod: Mapping[str, Any]) -> None:
        """Returns once the API server no longer has the Pod: nobody else deletes it."""
        await self._persist(pod, "pod not deleted", lambda: asyncio.to_thread(self._delete, pod))

    async def _persist(
        self, pod: Mapping[str, Any], problem: str, attempt: Callable[[], Awaitable[None]]
    ) -> None:
        attempts = 0
        while True:
            try:
                await attempt()
            except FAILURES as error:
                pause = self._back_off.pause(attempts)
                name = pod["metadata"]["name"]
                _log.warning(problem, pod=name, error=brief(error), again_in_seconds=pause)
            else:
                return
            attempts += 1
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._closed.wait()
                    return

    def _write(self, pod: Mapping[str, Any], status: Mapping[str, Any]) -> None:
        metadata = pod["metadata"]
        body = {"metadata": {"uid": metadata["uid"]}, "status": status}
        # Deleted, or replaced by another Pod of that name: there is nothing to write.
        with ignoring(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT):
            self._core.patch_namespaced_pod_status(metadata["name"], metadata["namespace"], body)

    def _delete(self, pod: Mapping[str, Any]) -> None:
        metadata = pod["metadata"]
        options = client.V1DeleteOptions(
            grace_period_seconds=0, preconditions=client.V1Preconditions(uid=metadata["uid"])
        )
        with ignoring(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT):
            self._core.delete_namespaced_pod(metadata["name"], metadata["namespace"], body=options)
