"""What a Pod's containers mount, beside the directories that are injected into them. A clash is refused."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal, TypeAlias

from webhook.annotations import CONTAINERS, FILES
from webhook.errors import RefusalError
from webhook.layout import (
    FILES_DIRECTORY,
    FILES_VOLUME,
    IDENTITY_VOLUME,
    SOCKET_DIRECTORY,
    SOCKET_VOLUME,
)
from webhook.pod import Container, Pod
from webhook.rawjson import JSONObject
from webhook.reasons import AdmissionReason

_Relation: TypeAlias = Literal["same", "within", "above"] | None
_LONGEST_KNOWN_PATH = 256


@dataclass(frozen=True)
class Directory:
    """A directory that containers get: its volume, its path, what it is, and the annotation that chooses the
    containers."""

    volume: str
    path: str
    what: str
    annotation: str


SOCKETS: Final = Directory(SOCKET_VOLUME, SOCKET_DIRECTORY, "the socket directory", CONTAINERS)
FILES_PLACE: Final = Directory(FILES_VOLUME, FILES_DIRECTORY, "the directory of files", FILES)
IDENTITY: Final = Directory(IDENTITY_VOLUME, FILES_DIRECTORY, "the directory of the identity", CONTAINERS)


def has(directory: Directory, container: Container, pod: Pod) -> bool:
    """Whether the container already has the directory, read-only.

    Raises:
        RefusalError: something else is mounted there, within it, or above it where nothing can be
            mounted below.
    """
    found = False
    for index, mount in enumerate(container.mounts):
        relation = _relation(mount.get("mountPath"), directory.path)
        if relation is None:
            continue
        where = f"{container.field}.volumeMounts[{index}]"
        is_ours = mount.get("name") == directory.volume and not _is_part(mount)
        if relation == "same" and is_ours and mount.get("readOnly") is True:
            found = True
        elif relation != "above":
            raise _clash(directory, where, mount.get("mountPath"), f"is where {directory.what} goes")
        elif not _can_hold_mounts(mount, pod):
            raise _clash(
                directory,
                where,
                mount.get("mountPath"),
                f"is above {directory.what}, and only a writable emptyDir surely lets another volume be "
                "mounted within it",
            )
    for index, device in enumerate(container.devices):
        if _relation(device.get("devicePath"), directory.path) is not None:
            where = f"{container.field}.volumeDevices[{index}]"
            raise _clash(directory, where, device.get("devicePath"), f"is where {directory.what} goes")
    return found


def refuse_other_mounts_of_files(
    containers: Iterable[Container], chosen: Collection[str], directory: Directory = FILES_PLACE
) -> None:
    """Raises RefusalError for a container that mounts the volume of files, and is not chosen for it, or could
    write there. Elsewhere and read-only, a chosen one may mount it."""
    for container in containers:
        for index, mount in enumerate(container.mounts):
            if mount.get("name") != directory.volume:
                continue
            where = f"{container.field}.volumeMounts[{index}]"
            if container.name not in chosen:
                raise RefusalError(
                    AdmissionReason.MOUNT_PATH_CLASH,
                    f"{where} mounts the volume {directory.volume}, and the annotation "
                    f"{directory.annotation} does not name the container {container.name[:80]}: name it "
                    f"there, or leave the mount out",
                )
            if mount.get("readOnly") is not True:
                raise RefusalError(
                    AdmissionReason.MOUNT_PATH_CLASH,
                    f"{where} mounts the volume {directory.volume} writable: state readOnly: true",
                )


def parts_warned_of(containers: Iterable[Container], directory: Directory) -> list[str]:
    """A warning for each mount of a part of the volume.

    https://kubernetes.io/docs/concepts/storage/projected-volumes/: no update reaches a `subPath`.
    """
    return [
        f"{container.field}.volumeMounts[{index}] mounts a part of {directory.volume} at "
        f"{str(mount.get('mountPath'))[:60]}: a subPath is never renewed; mount the whole volume"
        for container in containers
        for index, mount in enumerate(container.mounts)
        if mount.get("name") == directory.volume and _is_part(mount)
    ]


def _is_part(mount: JSONObject) -> bool:
    return bool(mount.get("subPath") or mount.get("subPathExpr"))


def _clash(directory: Directory, where: str, path: object, why: str) -> RefusalError:
    shown = path if isinstance(path, str) else "no path"
    return RefusalError(
        AdmissionReason.MOUNT_PATH_CLASH,
        f"{where} mounts at {shown}, which {why} ({directory.path}): mount it elsewhere, or leave the "
        f"container out with the annotation {directory.annotation}",
    )


def _can_hold_mounts(mount: JSONObject, pod: Pod) -> bool:
    """Whether the container runtime can make a directory below this mount, as it must to mount ours there.

    Below a ConfigMap or a read-only mount it cannot, and the container would fail to start. In a host path or
    a claim it can, but the directory would stay for good. A writable emptyDir, which is how hardened images
    get their /run, belongs to the Pod and is deleted with it.
    """
    if mount.get("readOnly") is True:
        return False
    name = mount.get("name")
    return isinstance(name, Hashable) and name in pod.empty_directories


def _relation(path: object, directory: str) -> _Relation:
    """How a mount path relates to the directory; None when they are apart. What is no path could be
    anything."""
    if not isinstance(path, str):
        return "above"
    known = len(path) <= _LONGEST_KNOWN_PATH
    return _known_relation(path, directory) if known else _relation_of(path, directory)


def _relation_of(path: str, directory: str) -> _Relation:
    plain = _plain(path)
    if plain == directory:
        return "same"
    if _within(plain, directory):
        return "within"
    return "above" if _within(directory, plain) else None


# Nearly all containers mount at the same few paths.
_known_relation = lru_cache(maxsize=1024)(_relation_of)


def _plain(path: str) -> str:
    """A mount path in a form for comparison: `/var/run` is a link to `/run` in nearly all images."""
    parts: list[str] = []
    for part in path.split("/"):
        if part == "..":
            del parts[-1:]
        elif part not in ("", "."):
            parts.append(part)
    if parts[:2] == ["var", "run"]:
        del parts[0]
    return "/" + "/".join(parts)


def _within(path: str, directory: str) -> bool:
    return path.startswith(directory.rstrip("/") + "/") and path != directory
