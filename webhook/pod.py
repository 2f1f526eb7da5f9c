"""The parts of a raw Pod that injection and policy read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

from webhook.rawjson import JSONObject, WrongTypeError, flag_at, object_at, objects_at, string_at

Place: TypeAlias = Literal["initContainers", "containers"]
# A manifest that no API server has processed may lack a service account; Kubernetes then uses this one.
_DEFAULT_SERVICE_ACCOUNT = "default"


@dataclass(frozen=True)
class Container:
    """One container and its place in the Pod: `spec.<place>[<index>]`."""

    place: Place
    index: int
    raw: JSONObject

    @property
    def name(self) -> str:
        return string_at(self.raw, "name", self.field)

    @property
    def field(self) -> str:
        """The field path, as Kubernetes writes it in messages."""
        return f"spec.{self.place}[{self.index}]"

    @property
    def mounts(self) -> list[JSONObject]:
        return objects_at(self.raw, "volumeMounts", self.field)

    @property
    def devices(self) -> list[JSONObject]:
        return objects_at(self.raw, "volumeDevices", self.field)

    @property
    def variables(self) -> list[JSONObject]:
        return objects_at(self.raw, "env", self.field)

    @property
    def security_context(self) -> JSONObject:
        return object_at(self.raw, "securityContext", self.field)

    @property
    def ports(self) -> list[JSONObject]:
        return objects_at(self.raw, "ports", self.field)


@dataclass(frozen=True)
class Pod:
    """A raw Pod. Fields are checked only when they are read: each property raises WrongTypeError."""

    raw: JSONObject

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
    def generate_name(self) -> str:
        return string_at(self.metadata, "generateName", "metadata")

    @property
    def labels(self) -> dict[str, str]:
        return _strings(object_at(self.metadata, "labels", "metadata"), "metadata.labels")

    @property
    def annotations(self) -> dict[str, str]:
        return _strings(object_at(self.metadata, "annotations", "metadata"), "metadata.annotations")

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

    def containers(self) -> Iterator[Container]:
        """Init containers, then the others, in their order. A new Pod cannot have ephemeral ones."""
        places: tuple[Place, ...] = ("initContainers", "containers")
        for place in places:
            for index, raw in enumerate(objects_at(self.spec, place, "spec")):
                yield Container(place, index, raw)


def _strings(values: JSONObject, where: str) -> dict[str, str]:
    for key, value in values.items():
        if not isinstance(value, str):
            raise WrongTypeError(f"{where}: the value of {key[:80]!r} is not a string")
    return values
