"""The webhook's settings as a cluster has them, and the rules by which its API servers call it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from service.settings import explained
from vkube.admission.selectors import mismatch
from vkube.configuration import Configuration
from vkube.connection.cluster import Cluster, Object
from vkube.errors import ClusterError
from webhook.layout import ENABLED, INJECT_LABEL, SIGNER
from webhook.settings import PREFIX, Settings
from webhook.volume_support import GROUP_VERSION, NO_CLUSTER, Kubelet, VolumeSupport, support

WEBHOOK = "webhook"
CONFIGURATION = "vanadium-webhook"


class DeployedSettings(Settings):
    """Settings that come from a Deployment only: this process's own flags and environment mean nothing."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        *_: PydanticBaseSettingsSource,
        **__: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (init_settings,)


@dataclass(frozen=True)
class Rules:
    """Which Pods the API servers send to the webhook: the selectors of our MutatingWebhookConfiguration.

    `entry` is None when the cluster has none. `volumes` is what the webhook finds of the cluster's kubelets;
    `kubelets` is empty where they cannot be seen.
    """

    entry: Mapping[str, Any] | None
    volumes: VolumeSupport = NO_CLUSTER
    kubelets: tuple[Kubelet, ...] = ()

    def why_not_called(self, namespace: Mapping[str, Any], pod: Mapping[str, Any]) -> str | None:
        """Why the webhook is not asked about a Pod there; None when it is asked."""
        if self.entry is None:
            return (
                f"the cluster has no MutatingWebhookConfiguration {CONFIGURATION}: the product is "
                "not installed (docs/operations.md, Install)"
            )
        name = namespace["metadata"]["name"]
        labels = {**(namespace["metadata"].get("labels") or {}), "kubernetes.io/metadata.name": name}
        missing = mismatch(self.entry.get("namespaceSelector"), labels)
        if missing == f"{INJECT_LABEL}={ENABLED}":
            other = labels.get(INJECT_LABEL)
            stated = "is not labelled" if other is None else f"has {INJECT_LABEL}={other}, not"
            again = "" if other is None else " --overwrite"
            return (
                f"the namespace {name} {stated} {missing}: kubectl label namespace {name} "
                f"{missing}{again} (see first what it would do: vkube preflight {name})"
            )
        if missing is not None:
            return f"the webhook's namespaceSelector leaves the namespace {name} out: {missing}"
        missing = mismatch(self.entry.get("objectSelector"), (pod.get("metadata") or {}).get("labels") or {})
        return None if missing is None else f"the webhook's objectSelector leaves the Pod out: {missing}"


def rules(cluster: Cluster) -> Rules:
    """The rules in force. Raises ClusterError, UnreachableError."""
    path = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations"
    found = cluster.find(f"{path}/{CONFIGURATION}")
    return Rules((found.get("webhooks") or [None])[0] if found else None, *volumes(cluster))


def volumes(cluster: Cluster, nodes: Sequence[Object] = ()) -> tuple[VolumeSupport, tuple[Kubelet, ...]]:
    """What the webhook finds of the cluster's kubelets, and these; `nodes` are those that were read already.
    Raises UnreachableError."""
    group = f"/apis/{GROUP_VERSION}"
    try:
        served = [str(one.get("name")) for one in (cluster.find(group) or {}).get("resources") or []]
        path = f"{group}/clustertrustbundles"
        found = (
            cluster.items(path, fieldSelector=f"spec.signerName={SIGNER}")
            if "clustertrustbundles" in served
            else ()
        )
        bundles = [one["metadata"]["name"] for one in found]
        kubelets = tuple(
            Kubelet(one["metadata"]["name"], str(node.get("kubeletVersion")))
            for one in (nodes or cluster.items("/api/v1/nodes"))
            if (node := (one.get("status") or {}).get("nodeInfo") or {}).get("operatingSystem") != "windows"
        )
    except ClusterError as error:  # not everybody may list nodes, and few Pods ask for volumes
        return VolumeSupport(f"what the kubelets can do cannot be seen: {error}"[:300], is_known=False), ()
    return support(served, kubelets, bundles), kubelets


def settings_of(cluster: Cluster) -> Settings:
    """The settings of the webhook's Deployment. Raises ClusterError, UnreachableError."""
    deployment = cluster.get(f"/apis/apps/v1/namespaces/{cluster.system}/deployments/{WEBHOOK}")
    containers = deployment["spec"]["template"]["spec"]["containers"]
    container = next((one for one in containers if one["name"] == WEBHOOK), containers[0])
    given = dict(_flags(container.get("args") or []))
    for one in container.get("env") or []:
        if one["name"].startswith(PREFIX) and "value" in one:
            given.setdefault(one["name"].removeprefix(PREFIX).lower(), one["value"])
    known = {name: value for name, value in given.items() if name in Settings.model_fields}
    return _settings(known)


def default_settings(configuration: Configuration) -> Settings:
    """Those of a new installation, with the images of vkube.cfg."""
    return _settings({"pod_agent_image": configuration.pod_agent.image})


def _settings(given: Mapping[str, Any]) -> Settings:
    try:
        return DeployedSettings(**given)
    except ValidationError as error:
        raise ClusterError(
            f"the webhook's settings in the cluster cannot be used: {explained(PREFIX, error.errors())}"
        ) from error


def _flags(arguments: list[str]) -> list[tuple[str, str]]:
    """`--name=value` and `--name value`."""
    found, position = [], 0
    while position < len(arguments):
        name, separator, value = arguments[position].partition("=")
        if name.startswith("--") and not separator and position + 1 < len(arguments):
            position += 1
            value = arguments[position]
        if name.startswith("--"):
            found.append((name[2:].replace("-", "_"), value))
        position += 1
    return found
