"""The parts of a raw Pod that injection and policy read."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from types import MappingProxyType
from typing import Final, Literal, TypeAlias

from webhook.rawjson import JSONObject, WrongTypeError, flag_at, object_at, objects_at, string_at

Place: TypeAlias = Literal["initContainers", "containers", "ephemeralContainers"]
# A manifest that no API server has processed may lack a service account; Kubernetes then uses this one.
_DEFAULT_SERVICE_ACCOUNT = "default"
_NOTHING: Final[Mapping[str, str]] = MappingProxyType({})


class Container:
    """One container and its place in the Pod: `spec.<place>[<index>]`. Its text is that place."""

    def __init__(self, place: Place, index: int, raw: JSONObject) -> None:
        self.place: Final = place
        self.index: Final = index
        self.raw: Final = raw

    @property
    def name(self) -> str:
        return string_at(self.raw, "name", self)

    @property
    def field(self) -> str:
        """The field path, as Kubernetes writes it in messages."""
        return f"spec.{self.place}[{self.index}]"

    @property
    def pointer(self) -> str:
        """The JSON Pointer to it."""
        return f"/spec/{self.place}/{self.index}"

    def __str__(self) -> str:
        return self.field

    @property
    def mounts(self) -> list[JSONObject]:
        return objects_at(self.raw, "volumeMounts", self)

    @property
    def devices(self) -> list[JSONObject]:
        return objects_at(self.raw, "volumeDevices", self)

    @property
    def variables(self) -> list[JSONObject]:
        return objects_at(self.raw, "env", self)

    @property
    def security_context(self) -> JSONObject:
        return object_at(self.raw, "securityContext", self)

    @property
    def resources(self) -> JSONObject:
        return object_at(self.raw, "resources", self)

    @property
    def ports(self) -> list[JSONObject]:
        return objects_at(self.raw, "ports", self)


class Pod:
    """A raw Pod. Fields are checked when they are read: each property raises WrongTypeError."""

    def __init__(self, raw: JSONObject, inherited: Mapping[str, str] = _NOTHING) -> None:
        """`inherited` are annotations of its namespace, that hold where it has none of its own."""
        self.raw: Final = raw
        self._inherited: Final = inherited
        self._annotations: dict[str, str] | None = None
        self._containers: list[Container] | None = None

    @property
    def metadata(self) -> JSONObject:
        return object_at(self.raw, "metadata", "")

    @property
    def spec(self) -> JSONObject:
        return object_at(self.raw, "spec", "")

    @property
    def name(self) -> str:
        return string_at(self.metadata, "name", "metadata")

    @property
    def namespace(self) -> str:
        """That of the request: API servers fill it in before they call webhooks."""
        return string_at(self.metadata, "namespace", "metadata")

    @property
    def generate_name(self) -> str:
        return string_at(self.metadata, "generateName", "metadata")

    @property
    def labels(self) -> dict[str, str]:
        return _strings(object_at(self.metadata, "labels", "metadata"), "metadata.labels")

    @property
    def annotations(self) -> dict[str, str]:
        if self._annotations is None:
            own = _strings(object_at(self.metadata, "annotations", "metadata"), "metadata.annotations")
            self._annotations = {**self._inherited, **own} if self._inherited else own
        return self._annotations

    @property
    def operating_system(self) -> str:
        return string_at(object_at(self.spec, "os", "spec"), "name", "spec.os")

    @property
    def security_context(self) -> JSONObject:
        return object_at(self.spec, "securityContext", "spec")

    @property
    def resources(self) -> JSONObject:
        """The whole Pod's resources, beside those of its containers."""
        return object_at(self.spec, "resources", "spec")

    @property
    def host_network(self) -> bool:
        return flag_at(self.spec, "hostNetwork", "spec")

    @property
    def finds_services(self) -> bool:
        """Whether the Pod can resolve names of Services. With the node's network it must ask for that.

        https://kubernetes.io/docs/concepts/services-networking/dns-pod-service/#pod-s-dns-policy
        """
        policy = string_at(self.spec, "dnsPolicy", "spec") or "ClusterFirst"
        wanted = "ClusterFirstWithHostNet" if self.host_network else "ClusterFirst"
        # With `None`, the Pod names its own servers; ClusterFirstWithHostNet works in both networks.
        return policy in (wanted, "ClusterFirstWithHostNet", "None")

    @property
    def shares_processes(self) -> bool:
        return flag_at(self.spec, "shareProcessNamespace", "spec") or flag_at(self.spec, "hostPID", "spec")

    @property
    def restart_policy(self) -> str:
        return string_at(self.spec, "restartPolicy", "spec") or "Always"

    @property
    def service_account(self) -> str:
        # `serviceAccount` is the deprecated name, which the API server keeps equal.
        named = string_at(self.spec, "serviceAccountName", "spec") or string_at(
            self.spec, "serviceAccount", "spec"
        )
        return named or _DEFAULT_SERVICE_ACCOUNT

    @property
    def volumes(self) -> list[JSONObject]:
        return objects_at(self.spec, "volumes", "spec")

    @property
    def pull_secrets(self) -> list[JSONObject]:
        return objects_at(self.spec, "imagePullSecrets", "spec")

    @property
    def containers(self) -> list[Container]:
        """Init containers, then the others, in their order. A new Pod cannot have ephemeral ones."""
        if self._containers is None:
            self._containers = self._read("initContainers") + self._read("containers")
        return self._containers

    @property
    def ephemeral_containers(self) -> list[Container]:
        return self._read("ephemeralContainers")

    @property
    def empty_directories(self) -> frozenset[Hashable]:
        """The names of the emptyDir volumes."""
        return frozenset(
            name
            for volume in self.volumes
            if isinstance(volume.get("emptyDir"), dict) and isinstance(name := volume.get("name"), Hashable)
        )

    def _read(self, place: Place) -> list[Container]:
        found = objects_at(self.spec, place, "spec")
        return [Container(place, index, raw) for index, raw in enumerate(found)]


def _strings(values: JSONObject, where: str) -> dict[str, str]:
    for key, value in values.items():
        if not isinstance(value, str):
            raise WrongTypeError(f"{where}: the value of {key[:80]!r} is not a string")
    return values
