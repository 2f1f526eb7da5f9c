"""The Pod Security Standards: what of a Pod a namespace that enforces a level would refuse.

https://kubernetes.io/docs/concepts/security/pod-security-standards/ (version 1.37). A test compares this with
a real API server.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

LEVELS = ("privileged", "baseline", "restricted")
LEVEL_LABEL = "pod-security.kubernetes.io/enforce"
Object = dict[str, Any]
Found = Iterator[str]

_BASELINE_CAPABILITIES = frozenset(
    {"AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE"}
    | {"SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT"}
)
_IPV4_SYSCTLS = (
    "ip_local_port_range ip_unprivileged_port_start tcp_syncookies ping_group_range ip_local_reserved_ports "
    "tcp_keepalive_time tcp_fin_timeout tcp_keepalive_intvl tcp_keepalive_probes tcp_rmem tcp_wmem"
)
_SYSCTLS = {"kernel.shm_rmid_forced", *(f"net.ipv4.{one}" for one in _IPV4_SYSCTLS.split())}
_SELINUX_TYPES = (None, "", "container_t", "container_init_t", "container_kvm_t", "container_engine_t")
_RESTRICTED_VOLUMES = frozenset(
    {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected"}
    | {"secret", "image"}
)
_PROFILES = ("RuntimeDefault", "Localhost")
_APPARMOR = "container.apparmor.security.beta.kubernetes.io/"


def violations(pod: Object, level: str) -> list[str]:
    """What the level forbids, in the words of the standard; empty when the Pod passes."""
    if level == "privileged":
        return []
    spec = pod.get("spec") or {}
    found = [*_host(spec), *_annotations(pod), *_sysctls(spec), *_context("the Pod", _security(spec))]
    for container in _containers(spec):
        found += _each(_BASELINE, container)
    if level == "restricted":
        found += [*_volumes(spec), *_root("the Pod", _security(spec))]
        for container in _containers(spec):
            found += _each(_RESTRICTED, container, spec)
    return found


def _each(checks: tuple[Callable[..., Found], ...], container: Object, *more: Object) -> Found:
    where = f"container {container.get('name')}"
    for check in checks:
        yield from check(where, container, *more)


def _containers(spec: Object) -> Iterator[Object]:
    for place in ("initContainers", "containers", "ephemeralContainers"):
        yield from spec.get(place) or []


def _security(holder: Object) -> Object:
    return holder.get("securityContext") or {}


def _host(spec: Object) -> Found:
    for field in ("hostNetwork", "hostPID", "hostIPC"):
        if spec.get(field):
            yield f"host namespaces ({field}=true)"
    if any(one.get("hostPath") is not None for one in spec.get("volumes") or []):
        yield "hostPath volumes"


def _annotations(pod: Object) -> Found:
    for key, value in ((pod.get("metadata") or {}).get("annotations") or {}).items():
        allowed = value in ("", "runtime/default") or str(value).startswith("localhost/")
        if key.startswith(_APPARMOR) and not allowed:
            yield f"forbidden AppArmor profile ({value})"


def _sysctls(spec: Object) -> Found:
    for one in _security(spec).get("sysctls") or []:
        if one.get("name") not in _SYSCTLS:
            yield f"forbidden sysctls ({one.get('name')})"


def _context(where: str, context: Object) -> Found:
    if (context.get("windowsOptions") or {}).get("hostProcess"):
        yield f"hostProcess ({where})"
    linux = context.get("seLinuxOptions") or {}
    if linux.get("type") not in _SELINUX_TYPES or linux.get("user") or linux.get("role"):
        yield f"seLinuxOptions ({where})"
    for field in ("seccompProfile", "appArmorProfile"):
        if (context.get(field) or {}).get("type") == "Unconfined":
            yield f"{field} Unconfined ({where})"


def _own_context(where: str, container: Object) -> Found:
    return _context(where, _security(container))


def _privileges(where: str, container: Object) -> Found:
    own = _security(container)
    if own.get("privileged"):
        yield f"privileged ({where})"
    added = set((own.get("capabilities") or {}).get("add") or []) - _BASELINE_CAPABILITIES
    if added:
        yield f"non-default capabilities ({where}: {', '.join(sorted(added))})"
    if own.get("procMount") not in (None, "Default"):
        yield f"procMount ({where})"


def _ports(where: str, container: Object) -> Found:
    if any(port.get("hostPort") for port in container.get("ports") or []):
        yield f"hostPort ({where})"


def _handlers(where: str, container: Object) -> Found:
    lifecycle = container.get("lifecycle") or {}
    probes = [container.get(one) for one in ("livenessProbe", "readinessProbe", "startupProbe")]
    for handler in [*probes, lifecycle.get("postStart"), lifecycle.get("preStop")]:
        asked = [(handler or {}).get(one) or {} for one in ("httpGet", "tcpSocket")]
        if any(one.get("host") not in (None, "") for one in asked):
            yield f"host of a probe or lifecycle hook ({where})"


def _volumes(spec: Object) -> Found:
    for volume in spec.get("volumes") or []:
        forbidden = set(volume) - {"name"} - _RESTRICTED_VOLUMES
        if forbidden:
            yield f"restricted volume types (volume {volume.get('name')}: {', '.join(sorted(forbidden))})"


def _root(where: str, context: Object) -> Found:
    if context.get("runAsUser") == 0:
        yield f"runAsUser=0 ({where})"


def _user(where: str, container: Object, spec: Object) -> Found:
    own = _security(container)
    yield from _root(where, own)
    if own.get("runAsNonRoot", _security(spec).get("runAsNonRoot")) is not True:
        yield f"runAsNonRoot != true ({where})"


def _linux_only(where: str, container: Object, spec: Object) -> Found:
    if (spec.get("os") or {}).get("name") == "windows":
        return
    own = _security(container)
    if own.get("allowPrivilegeEscalation") is not False:
        yield f"allowPrivilegeEscalation != false ({where})"
    capabilities = own.get("capabilities") or {}
    added = set(capabilities.get("add") or []) - {"NET_BIND_SERVICE"}
    if "ALL" not in (capabilities.get("drop") or []) or added:
        yield f"unrestricted capabilities ({where} must drop ALL and may add NET_BIND_SERVICE)"
    profile = (own.get("seccompProfile") or _security(spec).get("seccompProfile") or {}).get("type")
    if profile not in _PROFILES:
        yield f"seccompProfile ({where} must have {' or '.join(_PROFILES)})"


_BASELINE = (_own_context, _privileges, _ports, _handlers)
_RESTRICTED = (_user, _linux_only)
