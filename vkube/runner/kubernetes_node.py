"""A node of a real cluster: runs the Pods that the scheduler assigns to it, and writes their status back.

After a restart of the program nothing is adopted: Pods that are already assigned are started anew.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

import structlog
from kubernetes import client, watch
from kubernetes.client.exceptions import ApiException

from blessings.encoding.times import rfc3339
from vkube.runner.api_client import FAILURES, WATCH, brief, ignoring
from vkube.runner.container import BackOff
from vkube.runner.errors import RunnerError
from vkube.runner.node import Node
from vkube.runner.pod import RunningPod
from vkube.runner.pod_objects import PodObjects

_HEARTBEAT_SECONDS = 10.0
_LEASE_SECONDS = 40
_RETRY_SECONDS = 1.0
# For Pods that are ending when the node ends: each has the grace that it was given.
_LAST_SECONDS = 30.0
_LEASE_NAMESPACE = "kube-node-lease"
_BACK_OFF = BackOff(first=1.0, longest=30.0)

_log = structlog.get_logger("vkube.runner")


class KubernetesNode:
    """Runs the Pods of node `name`. `pods` are the running ones, by UID."""

    def __init__(self, api: client.ApiClient, name: str, node: Node) -> None:
        self._api = api
        self._core = client.CoreV1Api(api)
        self._objects = PodObjects(self._core, _BACK_OFF)
        self._leases = client.CoordinationV1Api(api)
        self._name = name
        self._node = node
        self._ending: dict[str, asyncio.Task[None]] = {}
        self._writers: dict[str, asyncio.Task[None]] = {}
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
            self._objects.close()  # the processes' ends are waited for, not an API server that refuses
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
        with ignoring(HTTPStatus.CONFLICT):
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
        with ignoring(HTTPStatus.CONFLICT):
            self._leases.create_namespaced_lease(_LEASE_NAMESPACE, body)  # type: ignore[arg-type]  # raw JSON

    async def _heartbeat(self) -> None:
        while True:
            renew = {"spec": {"renewTime": rfc3339(datetime.now(UTC), "microseconds")}}
            try:
                await asyncio.to_thread(
                    self._leases.patch_namespaced_lease, self._name, _LEASE_NAMESPACE, renew
                )
            except FAILURES as error:
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
            except FAILURES as error:
                if stop.is_set():
                    return
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
            pods = item["items"] if kind == "LISTED" else [item]
            if kind == "LISTED":
                for gone in {*self.pods, *self._writers} - {pod["metadata"]["uid"] for pod in pods}:
                    self._gone(gone)
            for pod in pods:
                try:
                    await self._changed(kind, pod)
                except Exception as error:  # noqa: BLE001 - a defect of ours must not end the handling of all Pods
                    name = pod["metadata"].get("name")
                    _log.error("pod not handled", pod=name, error=brief(error), exc_info=error)

    async def _changed(self, kind: str, pod: dict[str, Any]) -> None:
        if kind == "DELETED":
            self._gone(pod["metadata"]["uid"])
        elif kind in ("ADDED", "MODIFIED", "LISTED"):
            await self._seen(pod)

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
        dirty = asyncio.Event()
        try:
            running = await self._node.run(pod, lambda _: dirty.set())
        except (RunnerError, OSError) as error:
            _log.warning("pod not run", pod=pod["metadata"]["name"], error=str(error))
            reason = "UnsupportedPod" if isinstance(error, RunnerError) else "NotStarted"
            failed = {"phase": "Failed", "reason": reason, "message": str(error)}
            self._writers[uid] = asyncio.create_task(self._objects.write(pod, lambda: failed))
            return
        _log.info("pod started", pod=running.name, namespace=running.namespace, ip=running.ip)
        self.pods[uid] = running
        self._writers[uid] = asyncio.create_task(self._keep_status(running, dirty))
        dirty.set()

    def _gone(self, uid: str) -> None:
        """The API server no longer has the Pod."""
        if uid in self.pods:
            self._end(uid, delete=False)
        elif uid not in self._ending:
            self._end_writer(uid)

    def _end(self, uid: str, *, delete: bool) -> None:
        running = self.pods.pop(uid)
        self._ending[uid] = asyncio.create_task(self._terminate(uid, running, delete))

    async def _terminate(self, uid: str, running: RunningPod, delete: bool) -> None:
        grace = running.pod["spec"].get("terminationGracePeriodSeconds", 30)
        try:
            await self._node.stop_pod(running, grace)
        except Exception as error:  # noqa: BLE001 - a defect of ours must not leave the Pod for ever
            _log.error("pod not ended as it should", pod=running.name, error=brief(error), exc_info=error)
        self._end_writer(uid)
        if delete:
            await self._objects.write_once(running.pod, running.status)
            await self._objects.delete(running.pod)
        _log.info("pod ended", pod=running.name, namespace=running.namespace)
        del self._ending[uid]

    async def _forget(self, uid: str, pod: Mapping[str, Any]) -> None:
        """Deletes a Pod that does not run here."""
        await self._objects.delete(pod)
        self._end_writer(uid)
        del self._ending[uid]

    def _end_writer(self, uid: str) -> None:
        if writer := self._writers.pop(uid, None):
            writer.cancel()

    async def _keep_status(self, running: RunningPod, dirty: asyncio.Event) -> None:
        while True:
            await dirty.wait()
            dirty.clear()
            await self._objects.write(running.pod, lambda: running.status)
