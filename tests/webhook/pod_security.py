"""Pod Security Standards, level `restricted`, as a pure check over a raw Pod.

https://kubernetes.io/docs/concepts/security/pod-security-standards/ (Kubernetes 1.37), in its order, the
`baseline` controls first, which `restricted` includes. Only what concerns Linux.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

JSONObject = dict[str, Any]

_BASELINE_CAPABILITIES = {
    *("AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE"),
    *("SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT"),
}
_VOLUME_SOURCES = {
    *(
        "configMap",
        "csi",
        "downwardAPI",
        "emptyDir",
        "ephemeral",
        "image",
        "persistentVolumeClaim",
        "projected",
    ),
    "secret",
}
_SELINUX_TYPES = {"", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"}
_SAFE_SYSCTLS = {
    *("kernel.shm_rmid_forced", "net.ipv4.ip_local_port_range", "net.ipv4.ip_unprivileged_port_start"),
    *("net.ipv4.tcp_syncookies", "net.ipv4.ping_group_range", "net.ipv4.ip_local_reserved_ports"),
    *("net.ipv4.tcp_keepalive_time", "net.ipv4.tcp_fin_timeout", "net.ipv4.tcp_keepalive_intvl"),
    *("net.ipv4.tcp_keepalive_probes", "net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem"),
}


def restricted(pod: JSONObject) -> list[str]:
    """What the Pod does that `restricted` forbids; empty when it passes."""
    return [*_baseline(pod["spec"]), *_restricted(pod["spec"])]


def _containers(spec: JSONObject) -> Iterator[tuple[str, JSONObject, JSONObject]]:
    for place in ("initContainers", "containers", "ephemeralContainers"):
        for container in spec.get(place) or []:
            yield container["name"], container, container.get("securityContext") or {}


def _baseline(spec: JSONObject) -> Iterator[str]:
    context = spec.get("securityContext") or {}
    yield from (f"{key}=true" for key in ("hostNetwork", "hostPID", "hostIPC") if spec.get(key))
    yield from (f"hostPath volume {v['name']}" for v in spec.get("volumes") or [] if "hostPath" in v)
    yield from (f"sysctl {s['name']}" for s in context.get("sysctls") or [] if s["name"] not in _SAFE_SYSCTLS)
    if (context.get("seccompProfile") or {}).get("type") == "Unconfined":
        yield "pod seccompProfile Unconfined"
    yield from _selinux("pod", context)
    for name, container, own in _containers(spec):
        if own.get("privileged"):
            yield f"{name}: privileged"
        added = set((own.get("capabilities") or {}).get("add") or [])
        yield from (f"{name}: capability {each}" for each in sorted(added - _BASELINE_CAPABILITIES))
        yield from (f"{name}: hostPort" for port in container.get("ports") or [] if port.get("hostPort"))
        yield from _probe_hosts(name, container)
        if (own.get("appArmorProfile") or {}).get("type") == "Unconfined":
            yield f"{name}: appArmorProfile Unconfined"
        yield from _selinux(name, own)
        if own.get("procMount", "Default") != "Default":
            yield f"{name}: procMount"
        if (own.get("seccompProfile") or {}).get("type") == "Unconfined":
            yield f"{name}: seccompProfile Unconfined"


def _restricted(spec: JSONObject) -> Iterator[str]:
    context = spec.get("securityContext") or {}
    for volume in spec.get("volumes") or []:
        sources = set(volume) - {"name"}
        if not sources or not sources <= _VOLUME_SOURCES:
            yield f"volume {volume['name']}: {', '.join(sorted(sources))}"
    if context.get("runAsUser") == 0:
        yield "pod runAsUser=0"
    for name, _, own in _containers(spec):
        yield from _restricted_container(name, own, context)


def _restricted_container(name: str, own: JSONObject, context: JSONObject) -> Iterator[str]:
    if own.get("allowPrivilegeEscalation") is not False:
        yield f"{name}: allowPrivilegeEscalation != false"
    # A container's own answer counts, and the Pod's where the container has none.
    if own.get("runAsNonRoot", context.get("runAsNonRoot")) is not True:
        yield f"{name}: runAsNonRoot != true"
    if own.get("runAsUser") == 0:
        yield f"{name}: runAsUser=0"
    profile = own.get("seccompProfile") or context.get("seccompProfile") or {}
    if profile.get("type") not in ("RuntimeDefault", "Localhost"):
        yield f"{name}: seccompProfile"
    capabilities = own.get("capabilities") or {}
    if "ALL" not in (capabilities.get("drop") or []):
        yield f"{name}: capabilities not dropped"
    if set(capabilities.get("add") or []) - {"NET_BIND_SERVICE"}:
        yield f"{name}: capabilities added"


def _selinux(name: str, context: JSONObject) -> Iterator[str]:
    options = context.get("seLinuxOptions") or {}
    if options.get("type", "") not in _SELINUX_TYPES or options.get("user") or options.get("role"):
        yield f"{name}: seLinuxOptions"


def _probe_hosts(name: str, container: JSONObject) -> Iterator[str]:
    lifecycle = container.get("lifecycle") or {}
    actions = {key: container.get(key) for key in ("livenessProbe", "readinessProbe", "startupProbe")}
    actions |= {key: lifecycle.get(key) for key in ("postStart", "preStop")}
    for key, action in actions.items():
        for kind in ("httpGet", "tcpSocket"):
            if ((action or {}).get(kind) or {}).get("host"):
                yield f"{name}: {key}.{kind}.host"
