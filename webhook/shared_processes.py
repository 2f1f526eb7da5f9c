"""Which containers can read the pod agent's memory in a shared process namespace."""

from __future__ import annotations

from webhook.pod import Container, Pod
from webhook.rawjson import flag_at, object_at

_ROOT = 0
# To read another user's memory, or to become that user.
_CAPABILITIES = frozenset({"ALL", "SYS_ADMIN", "SYS_PTRACE", "SETUID"})


def readers_of_memory(pod: Pod, containers: list[Container]) -> list[str]:
    """The names of those of `containers` whose processes can, or may, read the memory of the pod agent's.

    Linux allows it to processes of the same user and to those with CAP_SYS_PTRACE (ptrace(2), "Ptrace access
    mode checking"). Root has CAP_SETUID by default, so it can become that user. A container without
    `runAsUser` runs as its image's user, which is not known here. One that states the pod agent's user is
    refused before.

    Raises:
        WrongTypeError: a field that decides has the wrong type.
    """
    if not pod.shares_processes:
        return []
    default = pod.security_context.get("runAsUser")
    found = []
    for container in containers:
        stated = container.security_context.get("runAsUser")
        of_container = default if stated is None else stated
        if of_container in (None, _ROOT) or _is_privileged(container):
            found.append(container.name)
    return found


def _is_privileged(container: Container) -> bool:
    where = f"{container.field}.securityContext"
    added = object_at(container.security_context, "capabilities", where).get("add") or []
    names = {str(name).upper().removeprefix("CAP_") for name in added} if isinstance(added, list) else set()
    return flag_at(container.security_context, "privileged", where) or not names.isdisjoint(_CAPABILITIES)
