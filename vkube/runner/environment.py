"""A container's environment variables, as Kubernetes defines them.

https://kubernetes.io/docs/tasks/inject-data-application/define-interdependent-environment-variables/
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from vkube.runner.errors import NotMountable, UnsupportedPod
from vkube.runner.resources import Resources

_REFERENCE = re.compile(r"\$(\$|\([-._a-zA-Z][-._a-zA-Z0-9]*\))")
_SUBSCRIPT = re.compile(r"(metadata\.(?:labels|annotations))\['([^']+)'\]")


def expand(text: str, variables: Mapping[str, str]) -> str:
    """`text` with `$(NAME)` replaced; `$$` is a dollar sign, and an unknown name stays unchanged."""

    def replace(found: re.Match[str]) -> str:
        reference = found[1]
        return "$" if reference == "$" else variables.get(reference[1:-1], found[0])

    return _REFERENCE.sub(replace, text)


def field_value(pod: Mapping[str, Any], pod_ip: str, path: str) -> str:
    """The value of a downward API fieldRef. Raises UnsupportedPod for an unknown field."""
    metadata, spec = pod["metadata"], pod["spec"]
    simple = {
        "metadata.name": metadata.get("name"),
        "metadata.namespace": metadata.get("namespace"),
        "metadata.uid": metadata.get("uid"),
        "spec.nodeName": spec.get("nodeName", ""),
        "spec.serviceAccountName": spec.get("serviceAccountName", "default"),
        "status.podIP": pod_ip,
        "status.podIPs": pod_ip,
        "status.hostIP": "127.0.0.1",
        "status.hostIPs": "127.0.0.1",
    }
    if path in simple:
        return str(simple[path])
    if subscript := _SUBSCRIPT.fullmatch(path):
        values = metadata.get(subscript[1].removeprefix("metadata.")) or {}
        return str(values.get(subscript[2], ""))
    if path in ("metadata.labels", "metadata.annotations"):
        values = metadata.get(path.removeprefix("metadata.")) or {}
        return "".join(f'{key}="{value}"\n' for key, value in sorted(values.items()))
    raise UnsupportedPod(f"fieldRef {path!r} is not known to the runner")


async def variables_of(
    container: Mapping[str, Any],
    pod: Mapping[str, Any],
    pod_ip: str,
    resources: Resources,
    services: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """The variables of `services`, and those that the container declares, in its order. Raises NotMountable,
    UnsupportedPod."""
    namespace = pod["metadata"]["namespace"]
    variables: dict[str, str] = dict(services or {})
    for source in container.get("envFrom") or []:
        prefix = source.get("prefix", "")
        for kind in ("secretRef", "configMapRef"):
            if reference := source.get(kind):
                data = await _data(kind, namespace, reference, resources)
                variables |= {prefix + key: value.decode() for key, value in data.items()}
    for variable in container.get("env") or []:
        value = await _value(variable, variables, pod, pod_ip, resources)
        if value is not None:
            variables[variable["name"]] = value
    return variables


async def _value(
    variable: Mapping[str, Any],
    before: Mapping[str, str],
    pod: Mapping[str, Any],
    pod_ip: str,
    resources: Resources,
) -> str | None:
    origin = variable.get("valueFrom")
    if not origin:
        return expand(variable.get("value") or "", before)
    if field := origin.get("fieldRef"):
        return field_value(pod, pod_ip, field["fieldPath"])
    for kind in ("secretKeyRef", "configMapKeyRef"):
        if reference := origin.get(kind):
            data = await _data(kind, pod["metadata"]["namespace"], reference, resources)
            if reference["key"] in data:
                return data[reference["key"]].decode()
            if reference.get("optional"):
                return None
            raise NotMountable(
                f"variable {variable['name']}: {reference['name']} has no key {reference['key']}"
            )
    raise UnsupportedPod(
        f"variable {variable['name']}: valueFrom {', '.join(origin)} is not known to the runner"
    )


async def _data(
    kind: str, namespace: str, reference: Mapping[str, Any], resources: Resources
) -> dict[str, bytes]:
    read = resources.secret if kind.startswith("secret") else resources.config_map
    data = await read(namespace, reference["name"])
    if data is None and not reference.get("optional"):
        raise NotMountable(f"{kind} {namespace}/{reference['name']} does not exist")
    return data or {}
