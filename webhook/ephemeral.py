"""Ephemeral containers (`kubectl debug`): a new one gets the sockets of a Pod that has the pod agent.

A client that may add one could mount them in it anyway. Where a debugger's own mounts or variables stand in
the way, it is left as it is, with a warning. One that states the pod agent's own user is refused, as in a new
Pod: it could read the identity's key from the agent's memory.
"""

from __future__ import annotations

from webhook import clashes, mounts, recognition, sidecar
from webhook.annotations import CONTAINERS, read_containers
from webhook.errors import RefusalError
from webhook.layout import CONTAINER
from webhook.patch import Operations, appended, joined, prepended
from webhook.pod import Container, Pod
from webhook.rawjson import JSONObject


def additions(pod: Pod, before: JSONObject, user: int | None) -> tuple[Operations, tuple[str, ...]] | None:
    """What the new ephemeral containers lack, and warnings; None for a Pod without the pod agent. `before` is
    the Pod without them; `user` is the configured one of pod agents, None where the cluster chooses it.

    Raises:
        RefusalError: one of them has the pod agent's user, or the Pod's annotation cannot be used.
        WrongTypeError: a field that decides has the wrong type.
    """
    agents = [one for one in pod.containers if one.name == CONTAINER and recognition.is_pod_agent(one)]
    if not agents:
        return None
    known = {one.name for one in Pod(before).ephemeral_containers}
    added = [one for one in pod.ephemeral_containers if one.name not in known]
    if user is not None:
        # The Pod's own agent decides: the setting may have changed since the Pod was made.
        own = agents[0].security_context.get("runAsUser")
        clashes.refuse_same_user(pod, added, own if isinstance(own, int) else user)
    chosen = read_containers(pod.annotations)
    operations, warnings = [], []
    for container in added:
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
