"""How far the rollout of a workload is, from its JSON.

The rules are those of `kubectl rollout status` and of `kubectl wait --for=condition=Complete`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Progress:
    """`text` describes the state. Not `done` and not `failed`: it goes on."""

    text: str
    done: bool = False
    failed: bool = False


def progress_of(workload: Mapping[str, Any]) -> Progress:
    """The progress of a Deployment, StatefulSet, DaemonSet, ReplicaSet, Job, CronJob or Pod."""
    kind, spec, status = workload["kind"], workload.get("spec") or {}, workload.get("status") or {}
    if kind == "CronJob":
        return Progress("it starts Jobs by its schedule", done=True)
    if kind == "Pod":
        return _pod(status)
    if kind == "Job":
        return _job(spec, status)
    generation = (workload.get("metadata") or {}).get("generation") or 0
    if (status.get("observedGeneration") or 0) < generation:
        return Progress("its controller has not seen it yet")
    if kind == "DaemonSet":
        wanted = status.get("desiredNumberScheduled") or 0
        counts = {
            "updated": status.get("updatedNumberScheduled") or 0,
            "available": status.get("numberAvailable") or 0,
        }
        return _counted(wanted, counts)
    replicas = spec.get("replicas")
    wanted = 1 if replicas is None else replicas
    if kind == "ReplicaSet":
        return _counted(wanted, {"ready": status.get("readyReplicas") or 0})
    if kind == "Deployment" and (reason := _condition(status, "Progressing", "False")):
        return Progress(reason, failed=True)
    progress = _counted(
        wanted,
        {
            "updated": status.get("updatedReplicas") or 0,
            "available" if kind == "Deployment" else "ready": (
                status.get("availableReplicas" if kind == "Deployment" else "readyReplicas") or 0
            ),
        },
    )
    outdated = (status.get("replicas") or 0) - (status.get("updatedReplicas") or 0)
    if progress.done and outdated > 0:
        return Progress(f"{outdated} replicas of the previous version are ending")
    return progress


def _counted(wanted: int, counts: Mapping[str, int]) -> Progress:
    text = ", ".join(f"{count} of {wanted} {word}" for word, count in counts.items())
    return Progress(text, done=all(count >= wanted for count in counts.values()))


def _job(spec: Mapping[str, Any], status: Mapping[str, Any]) -> Progress:
    if reason := _condition(status, "Failed", "True"):
        return Progress(reason, failed=True)
    completions = spec.get("completions")
    text = f"{status.get('succeeded') or 0} of {1 if completions is None else completions} completed"
    return Progress(text, done=_condition(status, "Complete", "True") is not None)


def _pod(status: Mapping[str, Any]) -> Progress:
    phase = status.get("phase") or "Pending"
    if phase == "Failed":
        return Progress(status.get("message") or status.get("reason") or "Failed", failed=True)
    return Progress(phase, done=phase == "Succeeded" or _condition(status, "Ready", "True") is not None)


def _condition(status: Mapping[str, Any], kind: str, value: str) -> str | None:
    """Why the condition has that value; None when it does not have it."""
    for one in status.get("conditions") or []:
        if one.get("type") == kind and one.get("status") == value:
            return str(one.get("message") or one.get("reason") or kind)
    return None
