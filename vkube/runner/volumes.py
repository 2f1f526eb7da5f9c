"""Volumes as directories: emptyDir, claims, secret, configMap, downwardAPI, projected.

Volumes that a kubelet keeps up to date are kept up to date here too, in the same way: the files are in a
separate directory behind the link `..data`, which is replaced atomically.
"""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePosixPath
from typing import Any

from vkube.runner.environment import expand, field_value
from vkube.runner.errors import NotMountable, UnsupportedPod
from vkube.runner.resources import Resources

_WRITABLE = ("emptyDir", "ephemeral", "persistentVolumeClaim")
_KINDS = (*_WRITABLE, "secret", "configMap", "downwardAPI", "projected")


class PodVolumes:
    """The volumes of one Pod below `directory`. Call `refresh` periodically."""

    def __init__(self, pod: Mapping[str, Any], pod_ip: str, directory: Path, resources: Resources) -> None:
        """Raises UnsupportedPod for a kind of volume that is not known."""
        self._pod = pod
        self._pod_ip = pod_ip
        self._resources = resources
        self._volumes: dict[str, tuple[Mapping[str, Any], Path]] = {}
        self._tokens: dict[tuple[str, str], tuple[str, datetime]] = {}
        for number, volume in enumerate(pod["spec"].get("volumes") or []):
            if not any(kind in volume for kind in _KINDS):
                kinds = ", ".join(key for key in volume if key != "name")
                raise UnsupportedPod(
                    f"volume {volume['name']!r} is a {kinds}; the runner knows {', '.join(_KINDS)}"
                )
            # Numbers, not names: the path of a Unix socket in it must stay short.
            self._volumes[volume["name"]] = (volume, directory / str(number))

    def mounted(self, mount: Mapping[str, Any], variables: Mapping[str, str]) -> Path:
        """What a volumeMount shows: its volume, or the `subPath` in it, which is made if the volume is there
        to be written. Raises UnsupportedPod when there can be no such directory."""
        name = mount["name"]
        if name not in self._volumes:
            raise UnsupportedPod(f"a container mounts volume {name!r}, which the Pod does not have")
        volume, directory = self._volumes[name]
        below = PurePosixPath(mount.get("subPath") or expand(mount.get("subPathExpr") or "", variables))
        if below.is_absolute() or ".." in below.parts:
            raise UnsupportedPod(
                f"the mount of volume {name!r} has the subPath {str(below)!r}: a path inside of the volume "
                "is expected"
            )
        shown = directory / below
        if directory.exists() and any(kind in volume for kind in _WRITABLE):
            shown.mkdir(parents=True, exist_ok=True)
        return shown

    async def refresh(self) -> None:
        """Makes or updates every volume. Raises NotMountable for a volume whose content does not exist
        yet."""
        for volume, directory in self._volumes.values():
            if claim := volume.get("persistentVolumeClaim"):
                _link(directory, await self._claimed(claim["claimName"]))
            elif "emptyDir" in volume or "ephemeral" in volume:
                directory.mkdir(mode=0o777, parents=True, exist_ok=True)
            else:
                _publish(directory, await self._content(volume))

    async def _claimed(self, name: str) -> Path:
        namespace = self._pod["metadata"]["namespace"]
        claimed = await self._resources.claim(namespace, name)
        if claimed is None:
            raise NotMountable(f"PersistentVolumeClaim {namespace}/{name} does not exist")
        return claimed

    async def _content(self, volume: Mapping[str, Any]) -> dict[str, bytes]:
        if sources := volume.get("projected", {}).get("sources"):
            content: dict[str, bytes] = {}
            for source in sources:
                content |= await self._source(volume["name"], source)
            return content
        return await self._source(volume["name"], volume)

    async def _source(self, volume: str, source: Mapping[str, Any]) -> dict[str, bytes]:
        namespace = self._pod["metadata"]["namespace"]
        if secret := source.get("secret"):
            name = secret.get("secretName") or secret["name"]
            return _chosen(
                f"Secret {namespace}/{name}", await self._resources.secret(namespace, name), secret
            )
        if config_map := source.get("configMap"):
            name = config_map["name"]
            data = await self._resources.config_map(namespace, name)
            return _chosen(f"ConfigMap {namespace}/{name}", data, config_map)
        if downward := source.get("downwardAPI"):
            return {
                item["path"]: field_value(self._pod, self._pod_ip, item["fieldRef"]["fieldPath"]).encode()
                for item in downward.get("items") or []
            }
        if token := source.get("serviceAccountToken"):
            return {token["path"]: (await self._token(volume, token)).encode()}
        raise UnsupportedPod(f"volume {volume!r}: a projected {', '.join(source)} is not known to the runner")

    async def _token(self, volume: str, source: Mapping[str, Any]) -> str:
        """A valid token: the cached one for four fifths of its life, as a kubelet does, then a new one."""
        key = (volume, source["path"])
        now = datetime.now(UTC)
        if key in self._tokens and now < self._tokens[key][1]:
            return self._tokens[key][0]
        metadata, spec = self._pod["metadata"], self._pod["spec"]
        token, expiry = await self._resources.token(
            metadata["namespace"],
            spec.get("serviceAccountName") or "default",
            source.get("audience", ""),
            source.get("expirationSeconds", 3600),
            metadata["name"],
            metadata["uid"],
        )
        self._tokens[key] = (token, now + (expiry - now) * 0.8 if expiry > now else now + timedelta(0))
        return token


def _link(directory: Path, target: Path) -> None:
    if not directory.is_symlink():
        directory.symlink_to(target)


def _chosen(what: str, data: Mapping[str, bytes] | None, source: Mapping[str, Any]) -> dict[str, bytes]:
    """The files that `items` picks, or all. Raises NotMountable for one that is missing and not optional."""
    items: Sequence[Mapping[str, str]] = source.get("items") or []
    optional = bool(source.get("optional"))
    if data is None:
        if optional:
            return {}
        raise NotMountable(f"{what} does not exist")
    if not items:
        return dict(data)
    missing = [item["key"] for item in items if item["key"] not in data]
    if missing and not optional:
        raise NotMountable(f"{what} has no key {', '.join(missing)}")
    return {item["path"]: data[item["key"]] for item in items if item["key"] in data}


def _publish(directory: Path, content: Mapping[str, bytes]) -> None:
    """Makes `directory` show all of `content` at once; does nothing when it already does."""
    directory.mkdir(parents=True, exist_ok=True)
    link = directory / "..data"
    if link.is_symlink() and _read(link) == content:
        return
    before = directory / link.readlink() if link.is_symlink() else None
    fresh = directory / f"..{uuid.uuid4().hex[:8]}"
    for name, value in content.items():
        file = fresh / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(value)
    fresh.mkdir(exist_ok=True)
    temporary = directory / "..data.new"
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(fresh.name)
    temporary.rename(link)
    tops = {Path(name).parts[0] for name in content}
    for top in tops:
        if not (directory / top).is_symlink():
            (directory / top).symlink_to(Path("..data") / top)
    for entry in directory.iterdir():
        if not entry.name.startswith("..") and entry.name not in tops:
            entry.unlink()
    if before is not None:
        shutil.rmtree(before, ignore_errors=True)


def _read(link: Path) -> dict[str, bytes]:
    return {
        os.path.relpath(Path(parent) / name, link): (Path(parent) / name).read_bytes()
        for parent, _, names in os.walk(link)
        for name in names
    }
