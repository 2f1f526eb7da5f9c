"""What a Pod is doing, in one line: the STATUS of `kubectl get pods`, with the reason."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_NO_REASONS = ("PodInitializing", "ContainerCreating")


def summary(status: Mapping[str, Any]) -> str:
    """The phase, how many containers are ready, and for each that waits or failed the reason."""
    init: Sequence[Mapping[str, Any]] = status.get("initContainerStatuses") or []
    main: Sequence[Mapping[str, Any]] = status.get("containerStatuses") or []
    reasons = [reason for one in [*init, *main] if (reason := _reason(one))]
    if message := status.get("message"):
        reasons.insert(0, message)
    text = _phase(status, init, main)
    return f"{text}; {'; '.join(reasons)}" if reasons else text


def _phase(
    status: Mapping[str, Any], init: Sequence[Mapping[str, Any]], main: Sequence[Mapping[str, Any]]
) -> str:
    phase: str = status.get("phase") or "Pending"
    if phase in ("Succeeded", "Failed"):
        return phase
    conditions = {one["type"]: one for one in status.get("conditions") or []}
    scheduled = conditions.get("PodScheduled", {})
    if scheduled.get("status") == "False":
        return f"{phase}, not scheduled: {scheduled.get('message') or scheduled.get('reason')}"
    if init and conditions.get("Initialized", {}).get("status") != "True":
        done = sum(_has_done(one) for one in init)
        return f"Init:{done}/{len(init)}"
    return f"{phase}, {sum(one['ready'] for one in main)}/{len(main)} ready" if main else phase


def _has_done(status: Mapping[str, Any]) -> bool:
    """Returns whether an init container has succeeded, or is a sidecar that has started."""
    ended = status["state"].get("terminated")
    return ended["exitCode"] == 0 if ended else bool(status.get("started"))


def _reason(status: Mapping[str, Any]) -> str:
    """Why a container waits, or how it failed; empty when neither is so."""
    state = status["state"]
    parts: list[str] = []
    last = state.get("terminated") or (status.get("lastState") or {}).get("terminated")
    if (waiting := state.get("waiting")) and waiting["reason"] not in _NO_REASONS:
        parts.append(": ".join(filter(None, [waiting["reason"], waiting.get("message")])))
    if last and last["exitCode"] != 0 and "running" not in state:
        parts.append(last.get("message") or f"exit code {last['exitCode']}")
    return f"{status['name']}: {', '.join(parts)}" if parts else ""
