"""The injection of the pod agent into a Pod, and of its sockets into every container, as a JSON Patch; of the
identity as files into those containers that ask for them. Where the Pod's delivery is `volume`, of the volume
in which the kubelet keeps the identity.

    >>> injection = inject({"spec": {"containers": [{"name": "web"}]}}, configuration)
    >>> injection.reason
    <AdmissionReason.INJECTED: 'Injected'>
    >>> [operation["path"] for operation in injection.operations][-1]
    '/spec/initContainers'

`inject` is a pure function of the Pod's raw JSON and the configuration, so a dry run gives the same patch,
and unknown fields stay unchanged. On a Pod that it has already injected it changes nothing. If other webhooks
added containers meanwhile, a second call (`reinvocationPolicy: IfNeeded`) gives only those the sockets.
"""

from __future__ import annotations

import json
from functools import lru_cache
from typing import NamedTuple

from webhook import clashes, meshes, mounts, sidecar, volume_injection
from webhook.annotations import (
    CONTAINERS,
    FILES,
    FILES_GROUP,
    FILES_MODE,
    STARTUP_WAIT,
    FilesWish,
    Wishes,
    labels_without_effect,
    read_wishes,
)
from webhook.delivery import decide
from webhook.errors import RefusalError
from webhook.layout import CONTAINER
from webhook.patch import NOTHING, Encoded, Operations, append, appended, encoded, insert, joined, prepended
from webhook.pod import Container, Pod
from webhook.quality_of_service import is_guaranteed
from webhook.rawjson import JSONObject, WrongTypeError
from webhook.reasons import AdmissionReason
from webhook.resources import raised
from webhook.shared_processes import readers_of_memory
from webhook.sidecar import Configuration
from webhook.volume_support import NOT_LOOKED, VolumeSupport

# Each of them gets several operations. No kubelet runs so many, but a caller could ask for an answer of fifty
# megabytes.
MOST_CONTAINERS = 1000


class Injection(NamedTuple):
    """The changes to a Pod. Without operations, the Pod already has everything that it needs."""

    encoded: Operations
    reason: AdmissionReason
    warnings: tuple[str, ...] = ()
    delivery: str = ""
    """Sidecar or volume, and why, where an annotation had a say in it."""

    @property
    def patch(self) -> Encoded | None:
        """The JSON Patch; None without operations."""
        return f"[{self.encoded.text}]" if self.encoded.number else None

    @property
    def operations(self) -> list[JSONObject]:
        """The operations, decoded."""
        operations: list[JSONObject] = json.loads(self.patch or "[]")
        return operations


def inject(raw: JSONObject, configuration: Configuration, support: VolumeSupport = NOT_LOOKED) -> Injection:
    """The patch that gives an identity to the Pod `raw`. It does not change `raw` itself.

    Raises:
        RefusalError: the Pod already uses a name, path, port or variable that an injected part needs, an
        annotation cannot be used, or `raw` is not a Pod. The message states what to change.
    """
    return inject_pod(Pod(raw), configuration, support)


def inject_pod(pod: Pod, configuration: Configuration, support: VolumeSupport) -> Injection:
    """The same as `inject`, for a Pod of which fields may have been read before."""
    try:
        return _inject(pod, configuration, support)
    except WrongTypeError as error:
        raise RefusalError(AdmissionReason.MALFORMED_POD, f"the Pod is malformed: {error}") from error


def _inject(pod: Pod, configuration: Configuration, support: VolumeSupport) -> Injection:
    containers = pod.containers
    if not containers or containers[-1].place != "containers":
        raise WrongTypeError("spec.containers is missing or empty")
    if len(containers) > MOST_CONTAINERS:
        raise RefusalError(
            AdmissionReason.TOO_MANY_CONTAINERS,
            f"the Pod has {len(containers)} containers, and at most {MOST_CONTAINERS} get an identity: "
            f"divide it, {clashes.WAY_OUT}",
        )
    clashes.refuse_container_clash(containers)
    decision = decide(pod, support)
    if decision.is_volume:
        return Injection(
            *volume_injection.additions(pod, decision, configuration.resources), decision.described
        )
    why_classic = support.without_native_sidecars
    configuration = configuration.decided(can_run_native=why_classic is None)
    others = [container for container in containers if container.name != CONTAINER]
    present = len(others) < len(containers)
    wishes = read_wishes(pod.annotations, configuration.resources)
    with_files = frozenset() if wishes.files is None else wishes.files.containers
    _refuse_clashes(pod, others, wishes, with_files, configuration, is_present=present)

    # The operation that inserts our container must be the last one: it shifts the indexes of initContainers,
    # and the other operations use the old ones.
    given = joined(
        [
            *meshes.exclusions(pod, others, configuration.cluster_agent_port),
            *[
                _give(
                    container,
                    pod,
                    sockets=wishes.containers is None or container.name in wishes.containers,
                    files=container.name in with_files,
                )
                for container in others
            ],
        ]
    )
    warnings = _warnings(pod, others, wishes)
    if not configuration.native_sidecar:
        warnings += _classic_warnings(pod, others, wishes, why_classic or "switched off")
    warnings += (*wishes.warnings, *labels_without_effect(pod.labels))
    if present:
        reason = AdmissionReason.SOCKET_ADDED if given.number else AdmissionReason.ALREADY_INJECTED
        return Injection(given, reason, warnings, decision.described)
    if is_guaranteed(pod, others):
        wishes = wishes._replace(resources=wishes.resources.guaranteed, are_none=False)
    resources = raised(pod.resources, wishes.resources, others)
    encoded_volumes = sidecar.encoded_volumes(configuration, pod.service_account)
    if wishes.files is not None:
        encoded_volumes += (sidecar.ENCODED_FILES_VOLUME,)
    volumes = append(pod.spec, "/spec", "volumes", encoded_volumes)
    secrets = _pull_secrets(pod, configuration.pull_secrets)
    agent = sidecar.encoded_container(configuration, wishes)
    if configuration.native_sidecar:
        # Our container goes before the user's, so that it has started when their init containers start.
        insertion = insert(pod.spec, "/spec", "initContainers", meshes.place(others), agent)
    else:
        # Our container goes last, so that `kubectl logs` and `kubectl exec` still mean the user's by default.
        insertion = append(pod.spec, "/spec", "containers", [agent])
    operations = joined([volumes, secrets, given, *resources, insertion])
    return Injection(operations, AdmissionReason.INJECTED, warnings, decision.described)


def _refuse_clashes(
    pod: Pod,
    others: list[Container],
    wishes: Wishes,
    with_files: frozenset[str],
    configuration: Configuration,
    *,
    is_present: bool,
) -> None:
    if is_present:
        clashes.refuse_foreign_volumes(pod)
    else:
        clashes.refuse_volume_clash(pod)
    clashes.refuse_same_user(pod, others, configuration.user)
    if wishes.metrics_port is not None:
        clashes.refuse_port_clash(others, wishes.metrics_port)
    mounts.refuse_other_mounts_of_files(others, with_files)
    if is_present and wishes.files is not None:
        clashes.refuse_agent_without_files(pod.containers)


def _give(container: Container, pod: Pod, *, sockets: bool, files: bool) -> Operations:
    # Our variables go before the user's, because Kubernetes expands $(NAME) only from earlier variables.
    missing: tuple[Encoded, ...] = ()
    if sockets and not mounts.has(mounts.SOCKETS, container, pod):
        missing += (sidecar.SOCKET_MOUNT,)
    if files and not mounts.has(mounts.FILES_PLACE, container, pod):
        missing += (sidecar.FILES_MOUNT,)
    return _given(
        container.pointer,
        missing,
        container.raw.get("volumeMounts") is None,
        clashes.missing_variables(container) if sockets else (),
        container.raw.get("env") is None,
    )


@lru_cache(maxsize=256)  # the same for the first containers of nearly every Pod
def _given(
    where: str,
    missing: tuple[Encoded, ...],
    has_no_mounts: bool,
    variables: tuple[Encoded, ...],
    has_no_variables: bool,
) -> Operations:
    return joined(
        [
            appended(f"{where}/volumeMounts", missing, is_missing=has_no_mounts),
            prepended(f"{where}/env", variables, is_missing=has_no_variables),
        ]
    )


def _pull_secrets(pod: Pod, names: tuple[str, ...]) -> Operations:
    """Operations that let the kubelet pull our image with these Secrets too."""
    if not names:
        return NOTHING
    missing = [name for name in names if all(one.get("name") != name for one in pod.pull_secrets)]
    return append(pod.spec, "/spec", "imagePullSecrets", [encoded({"name": name}) for name in missing])


def _only_root_reads(files: FilesWish, pod: Pod) -> bool:
    """Whether nobody else can read the files, although the pod author did not ask for that."""
    has_group = files.group is not None or pod.security_context.get("fsGroup") is not None
    return files.mode in (None, "0440") and not has_group


def _classic_warnings(pod: Pod, others: list[Container], wishes: Wishes, why: str) -> tuple[str, ...]:
    """What a Pod without a native sidecar lacks."""
    warnings = []
    if wishes.startup_wait_seconds is not None:
        warnings.append(f"{STARTUP_WAIT} has no effect, containers start at once: no native sidecars, {why}")
    if any(container.place == "initContainers" for container in others):
        warnings.append(f"init containers run before there is an identity: no native sidecars, {why}")
    if pod.restart_policy != "Always":
        warnings.append(f"the pod agent keeps this Pod from completing: no native sidecars, {why}")
    return tuple(warnings)


def _warnings(pod: Pod, others: list[Container], wishes: Wishes) -> tuple[str, ...]:
    """What comes of the Pod and its wishes. Security is first: API servers pass on a bounded text."""
    warnings = []
    if readers := readers_of_memory(pod, others):
        warnings.append(
            f"with a shared process namespace, processes of the pod agent's user, of root, or with more "
            f"privileges can read the identity's key from the pod agent's memory; state another runAsUser "
            f"and no such privilege: {', '.join(readers)[:100]}"
        )
    with_files = None if wishes.files is None else wishes.files.containers
    for annotation, chosen in ((CONTAINERS, wishes.containers), (FILES, with_files)):
        unknown = (chosen or frozenset()) - {container.name for container in others}
        if unknown:
            # This is not refused: another webhook may add the container later, and then ours is called again.
            warnings.append(
                f"annotation {annotation} names no container of the Pod: {', '.join(sorted(unknown))[:100]}"
            )
    if wishes.files is not None and _only_root_reads(wishes.files, pod):
        warnings.append(
            f"the files are for root alone: state the group of the containers in {FILES_GROUP} or fsGroup, "
            f"or {FILES_MODE}: 0444"
        )
    if pod.host_network and wishes.metrics_port is not None:
        warnings.append(f"with hostNetwork, the pod agent takes port {wishes.metrics_port} of the node")
    if not pod.finds_services:
        policy = "ClusterFirstWithHostNet" if pod.host_network else "ClusterFirst"
        warnings.append(
            f"the Pod does not resolve the names of Services, and the pod agent would not find the cluster "
            f"agent: set dnsPolicy: {policy}"
        )
    return tuple(warnings)
