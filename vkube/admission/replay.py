"""What another version of the webhook would do to the Pods that a cluster's workloads have now: pure.

The new injector is this process's own. The old one is not asked: what it did stands in the live Pods.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from vkube.admission.advice import advice
from vkube.admission.injected import is_injected
from vkube.admission.judgement import Judgement, judge
from vkube.admission.templates import Template
from vkube.workloads.template import Object
from webhook.layout import CONTAINER, IDENTITY_VOLUME, VOLUMES
from webhook.settings import Settings
from webhook.volume_support import NO_CLUSTER, VolumeSupport


class Outcome(StrEnum):
    """What the upgrade means for a workload's Pods."""

    SAME = "same"
    CHANGED = "changed"
    GAINED = "gained"
    SKIPPED = "skipped"
    LOST = "lost"
    REFUSED = "refused"
    CLASH = "clash"


HARMFUL = (Outcome.LOST, Outcome.REFUSED, Outcome.CLASH)
"""Outcomes that stop a rollout: a Pod that has an identity would have none, or would not be created."""


@dataclass(frozen=True)
class Replay:
    """What the new version does to the Pods of one workload. `changes` are the fields of the injected parts
    that differ from those of a live Pod."""

    workload: str
    outcome: Outcome
    reason: str
    message: str
    changes: tuple[str, ...]
    to_do: str

    def as_json(self) -> dict[str, Any]:
        return {
            "workload": self.workload,
            "result": self.outcome.value,
            "reason": self.reason,
            "message": self.message,
            "changes": list(self.changes),
            "whatToDo": self.to_do,
        }


def replay(
    template: Template,
    live: Sequence[Object],
    settings: Settings,
    support: VolumeSupport,
    namespace: Mapping[str, Any] | None = None,
) -> Replay:
    """The new version's answer about the template and about the live Pods, which it is asked again while both
    versions of the webhook run. `namespace` is the object, whose annotations are defaults."""
    name = f"{template.namespace}/{template.kind.lower()}/{template.name}"
    injected = [pod for pod in live if is_injected(pod)]
    for pod in injected:
        again = judge(_as_created(pod), settings, support, namespace)
        if not again.allowed or not again.served:
            todo = f"its Pods have what the new version does not take: {advice(again.reason)}"
            return Replay(name, Outcome.CLASH, again.reason.value, again.message, (), todo)
    new = judge(template.pod, settings, support, namespace)
    changes = _changes(new, injected[-1]) if new.served and injected else ()
    outcome = _outcome(new, live, injected, changes)
    todo = advice(new.reason) if outcome in (*HARMFUL, Outcome.SKIPPED) else _TO_DO[outcome]
    return Replay(name, outcome, new.reason.value, new.message, changes, todo)


_TO_DO = {
    Outcome.SAME: "nothing",
    Outcome.CHANGED: "vkube restart --outdated, when it suits: running Pods keep what they have",
    Outcome.GAINED: "vkube restart: its running Pods have no identity",
}


def _outcome(
    new: Judgement, live: Sequence[Object], injected: Sequence[Object], changes: tuple[str, ...]
) -> Outcome:
    if not new.allowed:
        return Outcome.REFUSED
    if not new.served:
        return Outcome.LOST if injected else Outcome.SKIPPED
    if live and not injected:
        return Outcome.GAINED
    return Outcome.CHANGED if changes else Outcome.SAME


def _changes(new: Judgement, pod: Object) -> tuple[str, ...]:
    """What the new version injects in another way than the live Pod has it. Fields that the API server fills
    in are ignored."""
    before, after = _parts(pod), _parts(new.patched)
    found: list[str] = []
    for name in sorted({*before, *after}):
        if name not in after:
            found.append(f"{name} is no longer there")
        elif name not in before:
            found.append(f"{name} is new")
        else:
            found += _differences(before[name], after[name], name)
    return tuple(found)


def image_changes(new: Judgement, pod: Object) -> bool:
    """Whether the pod agent of a new Pod would have another image than that of the live one."""
    before, after = (_parts(one).get(CONTAINER, {}) for one in (pod, new.patched))
    return bool(before and after) and before.get("image") != after.get("image")


def delivery_changes(new: Judgement, pod: Object) -> bool:
    """Whether a new Pod would have the webhook's volume where the live one has its pod agent, or the other
    way round."""
    return (IDENTITY_VOLUME in _parts(pod)) is not (IDENTITY_VOLUME in _parts(new.patched))


def delivery_would_change(
    pod: Object, written: Object, settings: Settings, support: VolumeSupport, namespace: Object | None
) -> bool | None:
    """Whether a new Pod would be served, and otherwise than the live one, of which `written` is what its
    author wrote. None where that depends on what is not known of the cluster."""
    supports = [support] if support.is_known else [VolumeSupport(None), NO_CLUSTER]
    judged = [judge(written, settings, one, namespace) for one in supports]
    first, *others = [one.served and delivery_changes(one, pod) for one in judged]
    return first if all(one is first for one in others) else None


def _parts(pod: Object) -> dict[str, Any]:
    """The injected container and volumes, by name."""
    spec = pod["spec"]
    containers = [*(spec.get("initContainers") or []), *(spec.get("containers") or [])]
    parts = {one["name"]: one for one in containers if one["name"] == CONTAINER}
    return parts | {one["name"]: one for one in spec.get("volumes") or [] if one["name"] in VOLUMES}


def _differences(before: Any, after: Any, where: str) -> Iterator[str]:
    if isinstance(before, dict) and isinstance(after, dict):
        for key, value in after.items():
            yield from _differences(before.get(key), value, f"{where}.{key}")
    elif (key := _key(after)) is not None and _key(before) in (key, None) and isinstance(before, list):
        old, new = ({one[key]: one for one in each} for each in (before, after))
        for name in [*new, *(name for name in old if name not in new)]:
            if name not in new:
                yield f"{where}[{name}] is no longer there"
            elif name not in old:
                yield f"{where}[{name}] is new"
            else:
                yield from _differences(old[name], new[name], f"{where}[{name}]")
    elif before != after:
        yield f"{where}: {before!r} becomes {after!r}" if not isinstance(after, dict | list) else where


def _key(values: Any) -> str | None:
    """By what the items of a list are told apart, as Kubernetes merges them."""
    if not isinstance(values, list) or not values or not all(isinstance(one, dict) for one in values):
        return None
    return next(
        (key for key in ("mountPath", "containerPort", "name") if all(key in one for one in values)), None
    )


def as_written(pod: Object) -> Object:
    """A live Pod as it would be without what was injected, as far as that is known from it: for another
    injection, not for creation."""
    spec = pod["spec"]
    cleaned = {
        **spec,
        **{
            place: [_without_ours(one) for one in spec[place] if one["name"] != CONTAINER]
            for place in ("initContainers", "containers")
            if spec.get(place)
        },
        "volumes": [one for one in spec.get("volumes") or [] if one["name"] not in VOLUMES],
    }
    return {**pod, "spec": cleaned}


def _without_ours(container: Object) -> Object:
    mounts = [one for one in container.get("volumeMounts") or [] if one["name"] not in VOLUMES]
    return {**container, "volumeMounts": mounts}


def _as_created(pod: Object) -> Object:
    return {key: value for key, value in pod.items() if key != "status"}
