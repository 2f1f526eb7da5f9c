"""The injection of the volume with the identity: the volume, and in each chosen container its mount and the
variables that name its files. Nothing else."""

from __future__ import annotations

from typing import NamedTuple

from webhook import clashes, mounts, volume
from webhook.annotations import CONTAINERS, OF_POD_AGENT, labels_without_effect, read_wishes
from webhook.delivery import Decision
from webhook.layout import CONTAINER, FILE_VARIABLES
from webhook.patch import Operations, append, joined, prepended
from webhook.pod import Container, Pod
from webhook.reasons import AdmissionReason
from webhook.resources import Resources


class Additions(NamedTuple):
    """What is added to a Pod, the outcome, and what its author is warned of."""

    operations: Operations
    reason: AdmissionReason
    warnings: tuple[str, ...]


def additions(pod: Pod, decision: Decision, resources: Resources) -> Additions:
    """What the Pod still lacks.

    Raises:
        RefusalError: it already uses a name, path or variable of ours for something else, or an annotation
            cannot be used.
        WrongTypeError: a field that decides has the wrong type.
    """
    if not decision.is_present:
        clashes.refuse_volume_clash(pod)
    wishes = read_wishes(pod.annotations, resources)
    names = {container.name for container in pod.containers}
    chosen = names if wishes.containers is None else wishes.containers
    mounts.refuse_other_mounts_of_files(pod.containers, chosen, mounts.IDENTITY)
    given = joined([_give(one, pod) for one in pod.containers if one.name in chosen])
    warnings = _without_effect(pod)
    warnings += mounts.parts_warned_of(pod.containers, mounts.IDENTITY)
    if decision.warning:
        warnings.append(decision.warning)
    if unknown := chosen - names:
        # This is not refused: another webhook may add the container later, and then ours is called again.
        warnings.append(
            f"annotation {CONTAINERS} names no container of the Pod: {', '.join(sorted(unknown))[:100]}"
        )
    warnings += [*wishes.warnings, *labels_without_effect(pod.labels)]
    if decision.is_present:
        reason = AdmissionReason.VOLUME_MOUNTED if given.number else AdmissionReason.ALREADY_INJECTED
        return Additions(given, reason, tuple(warnings))
    encoded = volume.encoded_volume(wishes.ttl_seconds, decision.federated)
    added = append(pod.spec, "/spec", "volumes", [encoded])
    return Additions(joined([added, given]), AdmissionReason.VOLUME_INJECTED, tuple(warnings))


def _give(container: Container, pod: Pod) -> Operations:
    missing = () if mounts.has(mounts.IDENTITY, container, pod) else (volume.MOUNT,)
    variables = clashes.missing_variables(container, FILE_VARIABLES, volume.VARIABLES)
    where = container.pointer
    return joined(
        [
            append(container.raw, where, "volumeMounts", missing),
            prepended(f"{where}/env", variables, is_missing=container.raw.get("env") is None),
        ]
    )


def _without_effect(pod: Pod) -> list[str]:
    # Not what the namespace states for all of its Pods, some of which have a pod agent.
    own = pod.metadata.get("annotations") or {}
    stated = [name for name in OF_POD_AGENT if name in own]
    if not stated:
        return []
    return [f"without effect, because the Pod has a volume and no {CONTAINER}: {', '.join(stated)}"]
