"""The fields of manifests that local mode reads, with their types; all others are as the user wrote them.

An API server would refuse a manifest whose field has the wrong type; so does `check`, with the field's path.
Types: https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from vkube.errors import ManifestError

_NAME = r"^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$"
Name = Annotated[str, Field(pattern=_NAME)]
Label = Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$")]
Count = Annotated[int, Field(ge=0)]
Strings = list[str] | None


class _Object(BaseModel):
    # Strict, as an API server is: a number is not taken for the string that was meant.
    model_config = ConfigDict(strict=True, extra="allow", alias_generator=to_camel)


class _AnyMetadata(_Object):
    # Not every kind's names are those of Pods: a ClusterRole may be named system:node.
    name: str | None = None
    namespace: str | None = None


class _Metadata(_Object):
    name: Name | None = None
    generate_name: str | None = None
    namespace: Label | None = None
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None


class _Variable(_Object):
    name: str
    value: str | None = None
    value_from: dict[str, Any] | None = None


class _Mount(_Object):
    name: str
    mount_path: Annotated[str, Field(min_length=1)]
    sub_path: str | None = None
    sub_path_expr: str | None = None


class _Port(_Object):
    container_port: int
    name: str | None = None


class _Exec(_Object):
    command: list[str]


class _Target(_Object):
    port: int | str
    host: str | None = None


class _GRPC(_Object):
    port: int
    service: str | None = None


class _Probe(_Object):
    exec: _Exec | None = None
    http_get: _Target | None = None
    tcp_socket: _Target | None = None
    grpc: _GRPC | None = None
    initial_delay_seconds: Count | None = None
    period_seconds: Count | None = None
    timeout_seconds: Count | None = None
    failure_threshold: Count | None = None
    termination_grace_period_seconds: Count | None = None


class _Container(_Object):
    name: Label
    image: str | None = None
    command: Strings = None
    args: Strings = None
    working_dir: str | None = None
    restart_policy: str | None = None
    env: list[_Variable] | None = None
    env_from: list[dict[str, Any]] | None = None
    ports: list[_Port] | None = None
    volume_mounts: list[_Mount] | None = None
    startup_probe: _Probe | None = None
    readiness_probe: _Probe | None = None
    liveness_probe: _Probe | None = None


class _Volume(_Object):
    name: Label


class _PodSpec(_Object):
    containers: Annotated[list[_Container], Field(min_length=1)]
    init_containers: list[_Container] | None = None
    volumes: list[_Volume] | None = None
    restart_policy: Literal["Always", "OnFailure", "Never"] | None = None
    service_account_name: Name | None = None
    service_account: Name | None = None
    termination_grace_period_seconds: Count | None = None


class _Template(_Object):
    metadata: _Metadata | None = None
    spec: _PodSpec


class _Claim(_Object):
    metadata: _Metadata


class _Workload(_Object):
    template: _Template
    replicas: Count | None = None
    volume_claim_templates: list[_Claim] | None = None


class _JobPodSpec(_PodSpec):
    # Kubernetes' default for Pods, Always, would never let a Job end.
    restart_policy: Literal["OnFailure", "Never"]


class _JobPodTemplate(_Object):
    metadata: _Metadata | None = None
    spec: _JobPodSpec


class _JobSpec(_Object):
    template: _JobPodTemplate
    completions: Count | None = None
    parallelism: Count | None = None
    completion_mode: Literal["NonIndexed", "Indexed"] | None = None
    backoff_limit: Count | None = None
    suspend: bool | None = None


class _JobTemplate(_Object):
    metadata: _Metadata | None = None
    spec: _JobSpec


class _CronJobSpec(_Object):
    schedule: str
    job_template: _JobTemplate


class _Manifest(_Object):
    """What every manifest has."""

    kind: Annotated[str, Field(min_length=1)]
    metadata: _AnyMetadata | None = None


class _Named(_Object):
    """What the manifests that local mode reads have."""

    metadata: _Metadata | None = None


class _Pod(_Named):
    spec: _PodSpec


class _Replicated(_Named):
    spec: _Workload


class _Job(_Named):
    spec: _JobSpec


class _CronJob(_Named):
    spec: _CronJobSpec


class _Data(_Named):
    data: dict[str, str] | None = None
    string_data: dict[str, str] | None = None
    binary_data: dict[str, str] | None = None


class _ServicePort(_Object):
    port: Annotated[int, Field(ge=1, le=65535)]
    target_port: int | str | None = None
    name: str | None = None
    protocol: str | None = None


class _ServiceSpec(_Object):
    selector: dict[str, str] | None = None
    ports: list[_ServicePort] | None = None
    type: str | None = None


class _Service(_Named):
    spec: _ServiceSpec | None = None


_BY_KIND: dict[str, type[BaseModel]] = {
    "Pod": _Pod,
    "Deployment": _Replicated,
    "ReplicaSet": _Replicated,
    "StatefulSet": _Replicated,
    "DaemonSet": _Replicated,
    "Job": _Job,
    "CronJob": _CronJob,
    "Secret": _Data,
    "ConfigMap": _Data,
    "Service": _Service,
    "Namespace": _Named,
    "PersistentVolumeClaim": _Named,
}


def check(manifest: dict[str, Any], where: str) -> None:
    """Raises ManifestError that names `where`, the object, and each field that is missing or wrong."""
    try:
        _Manifest.model_validate(manifest)
        if model := _BY_KIND.get(manifest["kind"]):
            model.model_validate(manifest)
    except ValidationError as error:
        problems = "; ".join(
            f"{_path(one['loc'])}: {_reason(one['msg'])}" for one in error.errors(include_url=False)[:5]
        )
        raise ManifestError(f"{where}{_object(manifest)}: {problems}") from error


def _path(location: tuple[int | str, ...]) -> str:
    """A field's path as Kubernetes writes it: `spec.template.spec.containers[0].name`."""
    # A union adds the alternative that was tried, such as `str`: it is no field.
    parts = [part for part in location if part not in ("int", "str")]
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts)
    return text.removeprefix(".") or "the document"


def _reason(message: str) -> str:
    message = message.replace("valid dictionary", "mapping").replace("instance of _", "")
    return message[0].lower() + message[1:]


def _object(manifest: dict[str, Any]) -> str:
    kind, metadata = manifest.get("kind"), manifest.get("metadata")
    name = metadata.get("name") if isinstance(metadata, dict) else None
    return f" ({kind} {name})" if isinstance(kind, str) and isinstance(name, str) else ""
