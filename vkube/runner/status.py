"""A Pod's status, made from its containers' states as a kubelet does."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from blessings.encoding.times import rfc3339
from vkube.runner.container import Container


def phase_of(containers: Sequence[Container], finished: bool) -> str:
    """Pending, Running, Succeeded or Failed."""
    if finished:
        return "Succeeded" if all(one.exit_code == 0 for one in containers) else "Failed"
    return (
        "Pending"
        if all(one.state.kind == "waiting" and not one.restarts for one in containers)
        else "Running"
    )


def pod_status(
    *,
    init: Sequence[Container],
    main: Sequence[Container],
    initialized: bool,
    finished: bool,
    failed_init: bool,
    pod_ip: str,
    since: datetime,
    problem: str,
) -> dict[str, Any]:
    """The status object. `problem` is why the whole Pod waits, if it does."""
    ready = initialized and not finished and all(one.ready for one in main)
    conditions = {
        "PodScheduled": True,
        "Initialized": initialized,
        "ContainersReady": ready,
        "Ready": ready,
    }
    status: dict[str, Any] = {
        "phase": "Failed" if failed_init else phase_of(main, finished),
        "conditions": [
            {"type": kind, "status": "True" if holds else "False", "lastTransitionTime": rfc3339(since)}
            for kind, holds in conditions.items()
        ],
        "hostIP": "127.0.0.1",
        "podIP": pod_ip,
        "podIPs": [{"ip": pod_ip}],
        "startTime": rfc3339(since),
        "containerStatuses": [_container_status(one) for one in main],
    }
    if init:
        status["initContainerStatuses"] = [_container_status(one) for one in init]
    if problem:
        status["message"] = problem
    return status


def _container_status(container: Container) -> dict[str, Any]:
    return {
        "name": container.name,
        "image": container.spec.get("image", ""),
        "imageID": "",
        "ready": container.ready or container.exit_code == 0,
        "started": container.started.is_set(),
        "restartCount": container.restarts,
        "state": container.state.json(),
        "lastState": container.last_state.json() if container.last_state else {},
    }
