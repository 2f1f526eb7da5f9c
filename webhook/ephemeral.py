"""Ephemeral containers (`kubectl debug`): a new one gets the sockets of a Pod that has the pod agent.

A client that may add one could mount them in it anyway. A debugger is never refused: where its own mounts or
variables stand in the way, it is left as it is, with a warning.
"""

from __future__ import annotations

from webhook import clashes, mounts, sidecar
from webhook.annotations import CONTAINERS, read_containers
from webhook.errors import RefusalError
from webhook.layout import CONTAINER
from webhook.patch import Operations, appended, joined, prepended
from webhook.pod import Container, Pod
from webhook.rawjson import JSONObject


def additions(pod: Pod, before: JSONObject) -> tuple[Operations, tuple[str, ...]] | None:
    """What the new ephemeral containers lack, and warnings; None for a Pod without the pod agent. `before` is
    the Pod without them.

    Raises:
        RefusalError: the Pod's annotation cannot be used.
        WrongTypeError: a field that decides has the wrong type.
    """
    if not any(one.name == CONTAINER and sidecar.is_pod_agent(one) for one in pod.containers):
        return None
    known = {one.name for one in Pod(before).ephemeral_containers}
    chosen = read_containers(pod.annotations)
    operations, warnings = [], []
    for container in pod.ephemeral_containers:
        if container.name in known:
            continue
        if chosen is not None and container.name not in chosen:
            warnings.append(
                f"no sockets in {container.name[:80]}: the annotation {CONTAINERS} does not name it"
            )
            continue
        try:
            operations.append(_give(container, pod))
        except RefusalError as error:
            warnings.append(f"no sockets in {container.name[:80]}: {error}")
    return joined(operations), tuple(warnings)


def _give(container: Container, pod: Pod) -> Operations:
    missing = () if mounts.has(mounts.SOCKETS, container, pod) else (sidecar.SOCKET_MOUNT,)
    variables = clashes.missing_variables(container)
    raw, where = container.raw, container.pointer
    return joined(
        [
            appended(f"{where}/volumeMounts", missing, is_missing=raw.get("volumeMounts") is None),
            prepended(f"{where}/env", variables, is_missing=raw.get("env") is None),
        ]
    )
