"""The pod agent's container and its volumes, recognised in a Pod: an earlier call of the webhook may have
injected them, or the pod author may have copied them."""

from __future__ import annotations

from typing import Final

from webhook.layout import (
    BOOTSTRAP_DIRECTORY,
    BOOTSTRAP_SECRET,
    BOOTSTRAP_VOLUME,
    CONTAINER,
    CREDENTIAL_FILE,
    FILES_VOLUME,
    NO_API_ACCESS_VOLUME,
    ROOTS_FILE,
    ROOTS_KEY,
    SOCKET_DIRECTORY,
    SOCKET_VOLUME,
    TOKEN_DIRECTORY,
    TOKEN_FILE,
    TOKEN_VOLUME,
)
from webhook.pod import Container
from webhook.rawjson import JSONObject

_ALWAYS: Final = "Always"
_NEEDED_MOUNTS: Final = (
    (SOCKET_VOLUME, SOCKET_DIRECTORY),
    (BOOTSTRAP_VOLUME, BOOTSTRAP_DIRECTORY),
    (TOKEN_VOLUME, TOKEN_DIRECTORY),
)


def is_pod_agent(candidate: Container) -> bool:
    """Whether `candidate` is the container that `webhook.sidecar` makes.

    Both name and shape must agree: a pod author's container may have the name by accident, and an annotation
    can be copied without the container. Changes that others may make to our container are ignored: defaults
    of the API server, the image of a registry mirror, mounts and variables of another injector.
    """
    return candidate.name == CONTAINER and not removed_from(candidate)


def removed_from(candidate: Container) -> list[str]:
    """What a container of our name lacks to be ours."""
    mounts = [(mount.get("name"), mount.get("mountPath")) for mount in candidate.mounts]
    missing = [f"the mount of {name}" for name, path in _NEEDED_MOUNTS if (name, path) not in mounts]
    if candidate.place == "initContainers" and candidate.raw.get("restartPolicy") != _ALWAYS:
        missing.append(f"restartPolicy: {_ALWAYS}")
    return missing


def is_part_of_pod_agent(candidate: Container) -> bool:
    """Whether a container of our name has any of the mounts that ours has."""
    return any((mount.get("name"), mount.get("mountPath")) in _NEEDED_MOUNTS for mount in candidate.mounts)


def bootstrap_service_account(volume: JSONObject) -> str | None:
    """The service account whose credential `volume` contains; None when it is not our Secret's volume.

    Version 0.1.0 mounts nothing beside the credential. During an upgrade, either version may be called again
    for a Pod into which the other one injected.
    """
    match volume:
        case {"secret": {"secretName": secret, "items": [{"key": str(key), "path": path}, *others]}}:
            ours = (secret, path) == (BOOTSTRAP_SECRET, CREDENTIAL_FILE)
            return key if ours and others in ([], [{"key": ROOTS_KEY, "path": ROOTS_FILE}]) else None
        case _:
            return None


def writes_files(agent: Container) -> bool:
    """Whether the pod agent's container has the directory for files."""
    return any(mount.get("name") == FILES_VOLUME for mount in agent.mounts)


def is_volume_of_ours(volume: JSONObject) -> bool:
    """Whether a volume with one of our names also has the source that we give it."""
    match volume:
        case {"name": name, "emptyDir": dict()}:
            return name in (SOCKET_VOLUME, NO_API_ACCESS_VOLUME, FILES_VOLUME)
        case {"name": name, "projected": {"sources": [{"serviceAccountToken": {"path": path}}]}}:
            return (name, path) == (TOKEN_VOLUME, TOKEN_FILE)
        case {"name": name}:
            return name == BOOTSTRAP_VOLUME and bootstrap_service_account(volume) is not None
        case _:
            return False
