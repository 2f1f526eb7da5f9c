"""The pod agent's container and its volumes, as they are written into a Pod."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, Final
from urllib.parse import urlsplit

from webhook.annotations import Wishes, without_wishes
from webhook.layout import (
    API_TOKEN_DIRECTORY,
    APPLICATION_VARIABLES,
    BOOTSTRAP_DIRECTORY,
    BOOTSTRAP_SECRET,
    BOOTSTRAP_VOLUME,
    CONTAINER,
    CREDENTIAL_FILE,
    FILES_DIRECTORY,
    FILES_VOLUME,
    NO_API_ACCESS_VOLUME,
    PROBE,
    ROOTS_FILE,
    ROOTS_KEY,
    SOCKET_DIRECTORY,
    SOCKET_VOLUME,
    TOKEN_DIRECTORY,
    TOKEN_FILE,
    TOKEN_VOLUME,
)
from webhook.once import Once
from webhook.patch import Encoded, encoded
from webhook.rawjson import JSONObject
from webhook.resources import Resources

# No common base image has this user: 65532, for one, is that of distroless images. That matters in a shared
# process namespace, where a process of the same user can read the agent's key from its memory. It is below
# 65536, because a Pod with a user namespace has no more.
USER: Final = 58193
_TOKEN_SECONDS = 3600
_HTTPS_PORT = 443

# The mount of the sockets in every other container. Connecting needs no write access to the directory.
SOCKET_MOUNT: Final = encoded({"name": SOCKET_VOLUME, "mountPath": SOCKET_DIRECTORY, "readOnly": True})
FILES_MOUNT: Final = encoded({"name": FILES_VOLUME, "mountPath": FILES_DIRECTORY, "readOnly": True})
# Two versions of the files take less than 100 KB, the memory of which counts for the pod agent.
ENCODED_FILES_VOLUME: Final = encoded(
    {"name": FILES_VOLUME, "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}}
)
# By these an application finds the sockets.
VARIABLES: Final = {
    name: encoded({"name": name, "value": value}) for name, value in APPLICATION_VARIABLES.items()
}

# Of a name that is kept: Kubernetes has no longer ones.
_LONGEST_KNOWN_NAME = 253


@dataclass(frozen=True, eq=False)
class Configuration:
    """The settings of the injection. They do not change while the program runs, and what they alone determine
    is encoded once: for this object, because to compare two of them would take as long."""

    image: str
    cluster_agent_url: str
    cluster_agent_server_name: str
    token_audience: str
    native_sidecar: bool | None = None
    """None: where each kubelet can run one."""
    log_level: str = "info"
    resources: Resources = field(default_factory=Resources)
    pull_policy: str | None = None
    pull_secrets: tuple[str, ...] = ()
    user: int | None = USER
    """Its user and group; None leaves the choice to the cluster."""

    @Once
    def with_native_sidecar(self) -> Configuration:
        return replace(self, native_sidecar=True)

    @Once
    def without_native_sidecar(self) -> Configuration:
        return replace(self, native_sidecar=False)

    def decided(self, *, can_run_native: bool) -> Configuration:
        """This configuration, with or without a native sidecar, which each kubelet can run or not."""
        if self.native_sidecar is not None:
            return self
        return self.with_native_sidecar if can_run_native else self.without_native_sidecar

    @Once
    def cluster_agent_port(self) -> int:
        return urlsplit(self.cluster_agent_url).port or _HTTPS_PORT

    @Once
    def encoded_container(self) -> Encoded:
        """The container of a Pod without wishes."""
        return encoded(container(self, without_wishes(self.resources)))


def container(configuration: Configuration, wishes: Wishes) -> JSONObject:
    """The pod agent's container. As a native sidecar it also has `restartPolicy: Always`."""
    built: JSONObject = {
        "name": CONTAINER,
        "image": wishes.image or configuration.image,
        "env": _settings(configuration, wishes),
        "resources": wishes.resources.as_json(),
        "volumeMounts": [
            {"name": SOCKET_VOLUME, "mountPath": SOCKET_DIRECTORY},
            {"name": BOOTSTRAP_VOLUME, "mountPath": BOOTSTRAP_DIRECTORY, "readOnly": True},
            {"name": TOKEN_VOLUME, "mountPath": TOKEN_DIRECTORY, "readOnly": True},
            # The ServiceAccount admission plugin runs before the webhooks, but every in-tree plugin runs
            # again after a webhook changed the Pod. It then mounts the API token into each container that has
            # no mount at exactly this path, including ours. The pod agent never calls the API server, so it
            # gets an empty directory there. `automountServiceAccountToken` is no alternative: it applies to
            # the whole Pod, and the application may need its token.
            {"name": NO_API_ACCESS_VOLUME, "mountPath": API_TOKEN_DIRECTORY, "readOnly": True},
        ],
        # A plain container holds back no other one: as the last, it has none after it.
        **_start_of_others(wishes.startup_wait_seconds if configuration.native_sidecar else None),
        "securityContext": {
            "runAsNonRoot": True,
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }
    if configuration.user is not None:
        built["securityContext"] |= {"runAsUser": configuration.user, "runAsGroup": configuration.user}
    if pull_policy := wishes.pull_policy or configuration.pull_policy:
        built["imagePullPolicy"] = pull_policy
    if wishes.metrics_port is not None:
        # Kubernetes does not require this declaration, but with it the scheduler never puts two Pods that use
        # the host's network, and therefore the same port, on one node.
        port = {"name": "vanadium-health", "containerPort": wishes.metrics_port, "protocol": "TCP"}
        built["ports"] = [port]
    if wishes.files is not None:
        built["volumeMounts"].append({"name": FILES_VOLUME, "mountPath": FILES_DIRECTORY})
        if wishes.files.group is not None:
            # A process may give its files to its own groups, without any privilege.
            built["securityContext"]["runAsGroup"] = wishes.files.group
    if configuration.native_sidecar:
        built["restartPolicy"] = "Always"
    return built


def _start_of_others(wait_seconds: int | None) -> JSONObject:
    """What the kubelet waits for before it starts the Pod's other containers.

    By exec, because a mesh's proxy or a network policy may be between the kubelet and a port of the Pod.
    """
    if wait_seconds is None:
        # It waits for eight seconds at a time: the cluster agent has ten minutes to come back before the
        # kubelet restarts the container. There is no liveness probe: the pod agent has a watchdog.
        often = {"timeoutSeconds": 10, "periodSeconds": 1, "failureThreshold": 70}
        return {"startupProbe": {"exec": {"command": [PROBE]}, **often}}
    if wait_seconds == 0:
        return {}
    # Sooner than a probe, which is asked once a second, but nothing else is done for the Pod meanwhile, and a
    # hook that fails ends the container: so it succeeds, with or without an identity (docs/reference.md).
    return {"lifecycle": {"postStart": {"exec": {"command": [PROBE, f"--at-most={wait_seconds}"]}}}}


def volumes(configuration: Configuration, service_account: str) -> list[JSONObject]:
    """The container's volumes. Of the bootstrap credentials they contain only that of `service_account`, and
    what it shares with the others."""
    return [
        {"name": SOCKET_VOLUME, "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
        {
            "name": BOOTSTRAP_VOLUME,
            # Not optional: the kubelet waits for the Secret and its keys, which the reconciler may not have
            # made yet when the Pod is admitted.
            "secret": {
                "secretName": BOOTSTRAP_SECRET,
                "items": [
                    {"key": service_account, "path": CREDENTIAL_FILE},
                    {"key": ROOTS_KEY, "path": ROOTS_FILE},
                ],
            },
        },
        {
            "name": TOKEN_VOLUME,
            "projected": {
                "sources": [
                    {
                        "serviceAccountToken": {
                            "audience": configuration.token_audience,
                            "expirationSeconds": _TOKEN_SECONDS,
                            "path": TOKEN_FILE,
                        }
                    }
                ]
            },
        },
        {"name": NO_API_ACCESS_VOLUME, "emptyDir": {"medium": "Memory", "sizeLimit": "64Ki"}},
    ]


def encoded_container(configuration: Configuration, wishes: Wishes) -> Encoded:
    """`container`, as JSON text."""
    if wishes.are_none:
        return configuration.encoded_container
    # Without what the container does not depend on, which may be long.
    files = wishes.files and wishes.files._replace(containers=frozenset())
    return _encoded_container(configuration, wishes._replace(containers=None, warnings=(), files=files))


@lru_cache(maxsize=256)  # most Pods of a namespace have the same wishes
def _encoded_container(configuration: Configuration, wishes: Wishes) -> Encoded:
    return encoded(container(configuration, wishes))


def encoded_volumes(configuration: Configuration, service_account: str) -> tuple[Encoded, ...]:
    """`volumes`, as JSON text."""
    known = len(service_account) <= _LONGEST_KNOWN_NAME
    return (_known_volumes if known else _encoded_volumes)(configuration, service_account)


def _encoded_volumes(configuration: Configuration, service_account: str) -> tuple[Encoded, ...]:
    return tuple(encoded(volume) for volume in volumes(configuration, service_account))


# A name that no service account can have is not kept: any client may send one of megabytes.
_known_volumes = lru_cache(maxsize=1024)(_encoded_volumes)


def _settings(configuration: Configuration, wishes: Wishes) -> list[JSONObject]:
    settings: list[tuple[str, Any]] = [
        ("CLUSTER_AGENT_URL", configuration.cluster_agent_url),
        ("CLUSTER_AGENT_SERVER_NAME", configuration.cluster_agent_server_name),
        ("CREDENTIAL_FILE", f"{BOOTSTRAP_DIRECTORY}/{CREDENTIAL_FILE}"),
        ("TOKEN_FILE", f"{TOKEN_DIRECTORY}/{TOKEN_FILE}"),
        ("SOCKET_DIRECTORY", SOCKET_DIRECTORY),
        ("LOG_LEVEL", wishes.log_level or configuration.log_level),
    ]
    if wishes.ttl_seconds is not None:
        settings.append(("TTL_SECONDS", str(wishes.ttl_seconds)))
    if wishes.files is not None:
        settings.append(("FILES_DIRECTORY", FILES_DIRECTORY))
        settings += [("FILES_MODE", wishes.files.mode)] if wishes.files.mode else []
        settings += [("FILES_GROUP", str(wishes.files.group))] if wishes.files.group is not None else []
    variables: list[JSONObject] = [
        {"name": f"VANADIUM_POD_AGENT_{name}", "value": value} for name, value in settings
    ]
    if wishes.metrics_port is not None:
        # With the host's network, this avoids listening on every address of the node.
        pod_ip = {"fieldRef": {"apiVersion": "v1", "fieldPath": "status.podIP"}}
        variables += [
            {"name": "VANADIUM_POD_AGENT_HEALTH_PORT", "value": str(wishes.metrics_port)},
            {"name": "VANADIUM_POD_AGENT_HEALTH_HOST", "valueFrom": pod_ip},
        ]
    return variables
