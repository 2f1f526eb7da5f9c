"""Clashes between a Pod's own parts and the parts to inject. A clash is refused, and nothing is overwritten.
Those of mount paths are in `webhook.mounts`.

Mount paths and variables are checked only in containers that would get the socket: the annotation
`vanadium.io/containers` can leave such a container out. Clashes of container names, volumes and ports concern
the whole Pod, and that annotation does not resolve them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from webhook import recognition, sidecar
from webhook.annotations import CONTAINERS, FILES, METRICS_PORT
from webhook.errors import RefusalError
from webhook.layout import (
    APPLICATION_VARIABLES,
    BOOTSTRAP_VOLUME,
    CONTAINER,
    DISABLED,
    INJECT_LABEL,
    SOCKET_VOLUME,
    TOKEN_VOLUME,
    VOLUMES,
)
from webhook.patch import Encoded
from webhook.pod import Container, Pod
from webhook.rawjson import string_at
from webhook.reasons import AdmissionReason

WAY_OUT = f"or label the Pod {INJECT_LABEL}={DISABLED}"


def refuse_container_clash(containers: Iterable[Container]) -> None:
    """Raises RefusalError for a container with the injected container's name that is not that container."""
    for container in containers:
        if container.name != CONTAINER or not (removed := recognition.removed_from(container)):
            continue
        if recognition.is_part_of_pod_agent(container):
            raise RefusalError(
                AdmissionReason.CONTAINER_CLASH,
                f"{container.field} is the injected container {CONTAINER} without {' and '.join(removed)}: "
                f"something removed it, such as a client or a webhook that does not know the field; remove "
                f"the container and the volumes named vanadium-*, so that they are injected anew",
            )
        raise RefusalError(
            AdmissionReason.CONTAINER_CLASH,
            f"{container.field} is named {CONTAINER}, which is the name of the injected container, "
            f"but is not that container: rename it, {WAY_OUT}",
        )


def refuse_volume_clash(pod: Pod) -> None:
    """Raises RefusalError for a volume with the name of an injected one, in a Pod without the injected
    container."""
    for index, volume in enumerate(pod.volumes):
        if volume.get("name") in VOLUMES:
            raise RefusalError(
                AdmissionReason.VOLUME_CLASH,
                f"spec.volumes[{index}] is named {volume['name']}, which is the name of an injected volume: "
                f"rename it, {WAY_OUT}",
            )


def refuse_foreign_volumes(pod: Pod) -> None:
    """Raises RefusalError when the injected container is in the Pod, but its volumes are not as it needs
    them.

    This happens after `kubectl get pod -o yaml`, an edit, and `kubectl create`; or when another webhook
    changes the service account after this one.
    """
    ours = {volume["name"]: volume for volume in pod.volumes if volume.get("name") in VOLUMES}
    # Not all of VOLUMES: during an upgrade of the webhook, one version may inject, and the other version may
    # be called again for the same Pod. So a volume that a new version adds must not be required at once.
    for name in (SOCKET_VOLUME, BOOTSTRAP_VOLUME, TOKEN_VOLUME):
        if name not in ours or not recognition.is_volume_of_ours(ours[name]):
            raise RefusalError(
                AdmissionReason.VOLUME_CLASH,
                f"the container {CONTAINER} is in the Pod, but the volume {name} that it needs is "
                f"{'another one' if name in ours else 'missing'}: remove the container, so that it is "
                f"injected anew, {WAY_OUT}",
            )
    holder = recognition.bootstrap_service_account(ours[BOOTSTRAP_VOLUME])
    if holder != pod.service_account:
        raise RefusalError(
            AdmissionReason.SERVICE_ACCOUNT_CHANGED,
            f"the volume {BOOTSTRAP_VOLUME} holds the credential of the service account {holder}, but the "
            f"Pod runs as {pod.service_account}: remove the container {CONTAINER} and the volumes named "
            f"vanadium-*, so that they are injected anew",
        )


def refuse_agent_without_files(containers: Iterable[Container]) -> None:
    """Raises RefusalError when the injected container does not write the files that the Pod asks for now: it
    would never do so."""
    for container in containers:
        if container.name == CONTAINER and not recognition.writes_files(container):
            raise RefusalError(
                AdmissionReason.CONTAINER_CLASH,
                f"the annotation {FILES} was added after the container {CONTAINER}, which writes no files: "
                f"remove that container and the volumes named vanadium-*, so that they are injected anew",
            )


def refuse_same_user(pod: Pod, containers: Iterable[Container], user: int | None) -> None:
    """Raises RefusalError for a container that states the pod agent's own user.

    A process of the same user may read another one's memory, and with it the identity's key, wherever it can
    see the process: in a shared process namespace, or from a debug container (ptrace(2)). A container without
    `runAsUser` runs as its image's user, which is not known here.
    """
    if user is None:
        return
    of_pod = pod.security_context.get("runAsUser")
    for container in containers:
        if of_pod != user and "securityContext" not in container.raw:
            continue
        stated = container.security_context.get("runAsUser")
        if (of_pod if stated is None else stated) == user:
            where = "spec" if stated is None else container.field
            # A label does not change a Pod that runs.
            way_out = "" if container.place == "ephemeralContainers" else f", {WAY_OUT}"
            raise RefusalError(
                AdmissionReason.USER_CLASH,
                f"{where}.securityContext.runAsUser is {user}, the user of the injected container, so that "
                f"{container.name[:80]} could read the identity's key from its memory: use another{way_out}",
            )


def refuse_port_clash(containers: Iterable[Container], metrics_port: int) -> None:
    """Raises RefusalError for a container that listens on the port where the pod agent is to show metrics."""
    for container in containers:
        for index, port in enumerate(container.ports):
            if port.get("containerPort") == metrics_port and port.get("protocol", "TCP") == "TCP":
                raise RefusalError(
                    AdmissionReason.PORT_CLASH,
                    f"{container.field}.ports[{index}] is TCP port {metrics_port}, where the annotation "
                    f"{METRICS_PORT} puts the injected container's metrics, and a Pod's containers share "
                    f"their ports: use another",
                )


def missing_variables(
    container: Container,
    variables: Mapping[str, str] = APPLICATION_VARIABLES,
    encoded_variables: Mapping[str, Encoded] = sidecar.VARIABLES,
) -> tuple[Encoded, ...]:
    """Those of `variables` that the container lacks, in a fixed order.

    Variables from `envFrom` cannot be seen here, but `env` takes precedence over them.

    Raises:
        RefusalError: the container sets one of them to something else.
    """
    present = set()
    for index, variable in enumerate(container.variables):
        name = variable.get("name")
        if not isinstance(name, str):
            name = string_at(variable, "name", f"{container.field}.env[{index}]")
        if name not in variables:
            continue
        if variable.get("value") != variables[name]:
            # The message leaves out the value, which belongs to the pod author: messages end up in Events.
            raise RefusalError(
                AdmissionReason.VARIABLE_CLASH,
                f"{container.field}.env[{index}] sets {name} to another value than "
                f"{variables[name]}: remove it, or leave the container out with the annotation "
                f"{CONTAINERS}",
            )
        present.add(name)
    return tuple(variable for name, variable in encoded_variables.items() if name not in present)
