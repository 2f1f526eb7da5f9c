"""Which Pods of a namespace may be evicted now, and why others may not. Pure.

Never one without an owner that makes it again, and never the last ready one of its owner. An owner is
disturbed as a rolling update disturbs a Deployment by default: a quarter of its Pods at most, or one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from webhook.healer.diagnosis import FoundPod, age_key
from webhook.healer.memory import NamespaceMemory
from webhook.notices.subject import Subject

# Their controllers make a Pod again, with the same template. That of a Job counts an eviction as a failure.
REMADE = frozenset({"ReplicaSet", "StatefulSet", "DaemonSet", "ReplicationController"})
_SHARE = 4


class Left(StrEnum):
    """Why a Pod is left as it is."""

    UNOWNED = "Unowned"
    NOT_REMADE = "NotRemade"
    REFUSED = "Refused"
    LAST_READY = "LastReady"
    DISTURBED = "Disturbed"
    PAUSING = "Pausing"
    UNPROVEN = "Unproven"


LASTING = {
    Left.UNOWNED: "nothing makes it again: delete and create it yourself",
    Left.NOT_REMADE: "its owner may not make it again as it is",
    Left.REFUSED: "the webhook would refuse it now",
    Left.LAST_READY: "it is the only ready Pod of its owner: vkube restart {namespace} replaces it first",
}
"""What to tell where waiting does not help."""


@dataclass
class Plan:
    """The Pods to evict, in this order, and those that are left, each with the reason."""

    evictions: list[FoundPod] = field(default_factory=list)
    left: list[tuple[FoundPod, Left]] = field(default_factory=list)


def plan(pods: Sequence[FoundPod], memory: NamespaceMemory, now: float) -> Plan:
    """The plan for a namespace; `pods` are all of its Pods. It does not change `memory`."""
    made = Plan()
    by_owner: dict[Subject, list[FoundPod]] = {}
    for pod in pods:
        if pod.owner is not None:
            by_owner.setdefault(pod.owner, []).append(pod)
        if pod.refused and not pod.has_identity:
            made.left.append((pod, Left.REFUSED))
        elif pod.cause is not None and pod.owner is None:
            made.left.append((pod, Left.UNOWNED))
    for owner, present in by_owner.items():
        _plan_owner(owner, present, memory, now, made)
    # Those that were in vain come last: one owner that always fails must not be all that is ever tried.
    made.evictions.sort(key=lambda one: (memory.failures_of(one.owner), age_key(one)))
    if not memory.is_proven:
        allowed = max(0, 1 - memory.open)
        made.left += [(one, Left.UNPROVEN) for one in made.evictions[allowed:]]
        del made.evictions[allowed:]
    return made


def _plan_owner(
    owner: Subject, present: list[FoundPod], memory: NamespaceMemory, now: float, made: Plan
) -> None:
    candidates = sorted((one for one in present if one.cause is not None), key=age_key)
    if not candidates:
        return
    if owner.kind not in REMADE:
        made.left += [(one, Left.NOT_REMADE) for one in candidates]
        return
    if memory.is_pausing(owner, now):
        made.left += [(one, Left.PAUSING) for one in candidates]
        return
    size = memory.size(owner, len(present), now)
    ready = sum(one.is_ready for one in present)
    allowed = max(1, size // _SHARE)
    taken = size - len(present)  # evicted before, and not made again yet
    for one in candidates:
        if one.is_ready and ready < 2:
            made.left.append((one, Left.LAST_READY if size < 2 else Left.DISTURBED))
        elif taken >= allowed or (one.is_ready and size - ready >= allowed):
            made.left.append((one, Left.DISTURBED))
        else:
            taken += 1
            ready -= one.is_ready
            made.evictions.append(one)


def in_turns(evictions: Iterable[tuple[str, Sequence[FoundPod]]]) -> Iterator[tuple[str, FoundPod]]:
    """The evictions of all namespaces, one of each in turn: thousands of one delay those of no other."""
    waiting = [(namespace, iter(one)) for namespace, one in evictions]
    while waiting:
        still = []
        for namespace, one in waiting:
            pod = next(one, None)
            if pod is not None:
                yield namespace, pod
                still.append((namespace, one))
        waiting = still
