"""A node of a real cluster: runs the Pods that the scheduler assigns to it, and writes their status back.

After a restart of the program nothing is adopted: Pods that are already assigned are started anew.
"""

from __future__ import annotations

import asyncio
import json
import os
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

import structlog
import urllib3
from kubernetes import client, watch
from kubernetes.client.exceptions import ApiException

from blessings.encoding.times import rfc3339
from vkube.runner.api_client import WATCH
from vkube.runner.errors import RunnerError
from vkube.runner.node import Node
from vkube.runner.pod import RunningPod

_HEARTBEAT_SECONDS = 10.0
_LEASE_SECONDS = 40
_RETRY_SECONDS = 1.0
# For Pods that are ending when the node ends: each has the grace that it was given.
_LAST_SECONDS = 30.0
_LEASE_NAMESPACE = "kube-node-lease"
_FAILURES = (ApiException, urllib3.exceptions.HTTPError, OSError)

_log = structlog.get_logger("vkube.runner")


class KubernetesNode:
    """Runs the Pods of node `name`. `pods` are the running ones, by UID."""

    def __init__(self, api: client.ApiClient, name: str, node: Node) -> None:
        self._api = api
        self._core = client.CoreV1Api(api)
        self._leases = client.CoordinationV1Api(api)
        self._name = name
        self._node = node
        self._ending: dict[str, asyncio.Task[None]] = {}
        self._writers: dict[str, asyncio.Task[None]] = {}
        self._dirty: dict[str, asyncio.Event] = {}
        self.pods: dict[str, RunningPod] = {}

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Runs Pods inside of the context, and ends them when it is left."""
        await asyncio.to_thread(self._register)
        stop = threading.Event()
        events: asyncio.Queue[tuple[str, dict[str, Any]]] = asyncio.Queue()
        loop = asyncio.get_running_loop()

        def emit(kind: str, pod: dict[str, Any]) -> None:
            with suppress(RuntimeError):  # the loop may be gone before the thread is
                loop.call_soon_threadsafe(events.put_nowait, (kind, pod))

        # A daemon thread: a watch blocks on the API server, and must not keep the program from ending.
        threading.Thread(target=self._watch, args=(emit, stop), name="watch-pods", daemon=True).start()
        tasks = [asyncio.create_task(self._handle(events)), asyncio.create_task(self._heartbeat())]
        try:
            yield
        finally:
            stop.set()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._node.stop(grace_seconds=5)
            if self._ending:
                await asyncio.wait(self._ending.values(), timeout=_LAST_SECONDS)
            for task in [*self._writers.values(), *self._ending.values()]:
                task.cancel()
            await asyncio.gather(*self._writers.values(), *self._ending.values(), return_exceptions=True)

    def _register(self) -> None:
        metadata = {
            "name": self._name,
            "labels": {"kubernetes.io/hostname": self._name, "kubernetes.io/os": "linux"},
        }
        with _ignoring(HTTPStatus.CONFLICT):
            self._core.create_node({"apiVersion": "v1", "kind": "Node", "metadata": metadata})  # type: ignore[arg-type]  # raw JSON
        capacity = {"cpu": str(os.cpu_count() or 1), "memory": "64Gi", "pods": "250"}
        now = rfc3339(datetime.now(UTC), "microseconds")
        condition = {
            "type": "Ready",
            "status": "True",
            "reason": "RunnerReady",
            "message": "processes on this machine",
            "lastHeartbeatTime": now,
            "lastTransitionTime": now,
        }
        # Requests are promises that processes on one machine cannot keep, so the capacity is unlimited.
        capacity["cpu"] = "1000"
        status = {
            "capacity": capacity,
            "allocatable": capacity,
            "conditions": [condition],
            "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
        }
        self._core.patch_node_status(self._name, {"status": status})
        lease = {"holderIdentity": self._name, "leaseDurationSeconds": _LEASE_SECONDS, "renewTime": now}
        body = {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": self._name},
            "spec": lease,
        }
        with _ignoring(HTTPStatus.CONFLICT):
            self._leases.create_namespaced_lease(_LEASE_NAMESPACE, body)  # type: ignore[arg-type]  # raw JSON

    async def _heartbeat(self) -> None:
        while True:
            renew = {"spec": {"renewTime": rfc3339(datetime.now(UTC), "microseconds")}}
            try:
                await asyncio.to_thread(
                    self._leases.patch_namespaced_lease, self._name, _LEASE_NAMESPACE, renew
                )
            except _FAILURES as error:
                _log.warning("heartbeat failed", error=brief(error))
            await asyncio.sleep(_HEARTBEAT_SECONDS)

    def _watch(self, emit: Callable[[str, dict[str, Any]], None], stop: threading.Event) -> None:
        """Lists and watches this node's Pods, in its own thread."""
        selector = f"spec.nodeName={self._name}"
        listing = self._core.list_pod_for_all_namespaces
        while not stop.is_set():
            try:
                found = listing(field_selector=selector)
                present = [self._raw(item) for item in found.items]
                emit("LISTED", {"items": present})
                version = found.metadata.resource_version if found.metadata else ""
                while not stop.is_set():
                    stream = watch.Watch().stream(  # type: ignore[no-untyped-call]  # it has no types
                        listing,
                        field_selector=selector,
                        resource_version=version,
                        **WATCH,
                    )
                    for event in stream:
                        if event is None:  # a line that is none
                            continue
                        version = event["raw_object"]["metadata"]["resourceVersion"]
                        emit(event["type"], event["raw_object"])
            except _FAILURES as error:
                if not (isinstance(error, ApiException) and error.status == HTTPStatus.GONE):
                    _log.warning("watch lost", error=brief(error))
                    stop.wait(_RETRY_SECONDS)

    def _raw(self, item: object) -> dict[str, Any]:
        """The JSON of a client's object."""
        raw: dict[str, Any] = self._api.sanitize_for_serialization(item)  # type: ignore[no-untyped-call]
        return raw

    async def _handle(self, events: asyncio.Queue[tuple[str, dict[str, Any]]]) -> None:
        while True:
            kind, item = await events.get()
            if kind == "LISTED":
                present = {pod["metadata"]["uid"]: pod for pod in item["items"]}
                for gone in set(self.pods) - set(present):
                    self._end(gone, delete=False)
                for pod in present.values():
                    await self._seen(pod)
            elif kind == "DELETED":
                self._end(item["metadata"]["uid"], delete=False)
            elif kind in ("ADDED", "MODIFIED"):
                await self._seen(item)

    async def _seen(self, pod: dict[str, Any]) -> None:
        uid = pod["metadata"]["uid"]
        if pod["metadata"].get("deletionTimestamp"):
            if uid in self.pods:
                self._end(uid, delete=True)
            elif uid not in self._ending:
                self._ending[uid] = asyncio.create_task(self._forget(uid, pod))
            return
        if (
            uid in self._writers
            or uid in self._ending
            or pod.get("status", {}).get("phase") in ("Succeeded", "Failed")
        ):
            return
        dirty = self._dirty[uid] = asyncio.Event()
        try:
            running = await self._node.run(pod, lambda _: dirty.set())
        except RunnerError as error:
            _log.warning("pod not run", pod=pod["metadata"]["name"], error=str(error))
            failed = {"phase": "Failed", "reason": "UnsupportedPod", "message": str(error)}
            self._writers[uid] = asyncio.create_task(self._write(pod, lambda: failed))
            return
        _log.info("pod started", pod=running.name, namespace=running.namespace, ip=running.ip)
        self.pods[uid] = running
        self._writers[uid] = asyncio.create_task(self._keep_status(running, dirty))
        dirty.set()

    def _end(self, uid: str, *, delete: bool) -> None:
        running = self.pods.pop(uid, None)
        if running is not None:
            self._ending[uid] = asyncio.create_task(self._terminate(uid, running, delete))

    async def _terminate(self, uid: str, running: RunningPod, delete: bool) -> None:
        grace = running.pod["spec"].get("terminationGracePeriodSeconds", 30)
        try:
            await self._node.stop_pod(running, grace)
        except Exception as error:  # noqa: BLE001 - a defect of ours must not leave the Pod for ever
            _log.error("pod not ended as it should", pod=running.name, error=brief(error), exc_info=error)
        if writer := self._writers.pop(uid, None):
            writer.cancel()
        if delete:
            await asyncio.to_thread(self._write_status, running.pod, running.status)
            await self._delete(running.pod)
        _log.info("pod ended", pod=running.name, namespace=running.namespace)
        del self._ending[uid], self._dirty[uid]

    async def _forget(self, uid: str, pod: Mapping[str, Any]) -> None:
        """Deletes a Pod that does not run here."""
        await self._delete(pod)
        if writer := self._writers.pop(uid, None):
            writer.cancel()
        self._dirty.pop(uid, None)
        del self._ending[uid]

    async def _delete(self, pod: Mapping[str, Any]) -> None:
        """Returns once the API server no longer has the Pod: nobody else deletes it."""
        while True:
            try:
                await asyncio.to_thread(self._ask_to_delete, pod)
            except _FAILURES as error:
                _log.warning("pod not deleted", pod=pod["metadata"]["name"], error=brief(error))
                await asyncio.sleep(_RETRY_SECONDS)
            else:
                return

    async def _keep_status(self, running: RunningPod, dirty: asyncio.Event) -> None:
        while True:
            await dirty.wait()
            dirty.clear()
            await self._write(running.pod, lambda: running.status)

    async def _write(self, pod: Mapping[str, Any], status: Callable[[], Mapping[str, Any]]) -> None:
        """Returns once the API server has the status, which is asked for anew before each attempt."""
        while True:
            if await asyncio.to_thread(self._write_status, pod, status()):
                return
            await asyncio.sleep(_RETRY_SECONDS)

    def _write_status(self, pod: Mapping[str, Any], status: Mapping[str, Any]) -> bool:
        """Returns whether there is nothing more to write."""
        metadata = pod["metadata"]
        body = {"metadata": {"uid": metadata["uid"]}, "status": status}
        try:
            self._core.patch_namespaced_pod_status(metadata["name"], metadata["namespace"], body)
        except _FAILURES as error:
            if isinstance(error, ApiException) and error.status in (
                HTTPStatus.NOT_FOUND,
                HTTPStatus.CONFLICT,
            ):
                return True  # deleted, or replaced by another Pod of that name
            _log.warning("status not written", pod=metadata["name"], error=brief(error))
            return False
        return True

    def _ask_to_delete(self, pod: Mapping[str, Any]) -> None:
        metadata = pod["metadata"]
        options = client.V1DeleteOptions(
            grace_period_seconds=0, preconditions=client.V1Preconditions(uid=metadata["uid"])
        )
        with _ignoring(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT):
            self._core.delete_namespaced_pod(metadata["name"], metadata["namespace"], body=options)


class _ignoring:  # noqa: N801 - reads as contextlib's suppress
    """Ignores answers with these status codes."""

    def __init__(self, *statuses: HTTPStatus) -> None:
        self._statuses = statuses

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        return isinstance(error, ApiException) and error.status in self._statuses


def brief(error: Exception) -> str:
    """The status and the reason. What a proxy answers may be plain text instead of a Status."""
    if not isinstance(error, ApiException):
        return type(error).__name__
    try:
        message = json.loads(error.body or "")["message"]
    except (ValueError, TypeError, KeyError):
        message = str(error.body or error.reason)[:200]
    return f"{error.status} {message}"
