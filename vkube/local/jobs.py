"""What a Job's controller does next, as a function of its Pods.

https://kubernetes.io/docs/concepts/workloads/controllers/job/
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

_DEFAULT_BACKOFF_LIMIT = 6

Phase = Literal["Running", "Succeeded", "Failed"]


@dataclass(frozen=True)
class JobPod:
    """One of the Job's Pods: its completion index (None where the Job is not Indexed), and its state."""

    index: int | None
    phase: Phase
    restarts: int = 0


@dataclass(frozen=True)
class Step:
    """What to do: Pods to start, by index; or the end, with `outcome`."""

    start: Sequence[int | None] = ()
    outcome: Literal["Complete", "Failed", "Suspended"] | None = None


def next_step(spec: Mapping[str, Any], pods: Sequence[JobPod]) -> Step:
    """What the controller of a Job with `spec` does when its Pods are these."""
    parallelism = _or(spec.get("parallelism"), 1)
    if spec.get("suspend") or parallelism == 0:
        return Step(outcome="Suspended")
    running = [one for one in pods if one.phase == "Running"]
    failures = sum(one.phase == "Failed" for one in pods) + sum(one.restarts for one in pods)
    if failures > _or(spec.get("backoffLimit"), _DEFAULT_BACKOFF_LIMIT):
        return Step(outcome="Failed")
    succeeded = [one for one in pods if one.phase == "Succeeded"]
    if spec.get("completionMode") == "Indexed":
        done, busy = {one.index for one in succeeded}, {one.index for one in running}
        wanted = [index for index in range(_or(spec.get("completions"), 1)) if index not in done]
        if not wanted:
            return Step(outcome="Complete")
        free = [index for index in wanted if index not in busy]
        return Step(start=free[: max(0, parallelism - len(running))])
    completions = spec.get("completions")
    if completions is None and spec.get("parallelism") is not None:
        # A work queue: the Pods agree among themselves; when one has succeeded, no further one is started.
        if succeeded:
            return Step() if running else Step(outcome="Complete")
        return Step(start=[None] * (parallelism - len(running)))
    missing = _or(completions, 1) - len(succeeded)
    if missing <= 0:
        return Step(outcome="Complete")
    return Step(start=[None] * max(0, min(parallelism, missing) - len(running)))


def _or(value: int | None, default: int) -> int:
    return default if value is None else value
