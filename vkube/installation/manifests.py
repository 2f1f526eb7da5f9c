"""The control plane's manifests: those of deploy/, with what vkube.cfg chooses.

kustomize makes the same of deploy/ (a test compares the two), but users of vkube may have no kubectl.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from blessings import InvalidName, InvalidPattern, Name, Pattern
from certs.issue import NAMESPACE, ROOT_NAME
from vkube.configuration import ClusterAgentSection, Configuration
from vkube.errors import ConfigurationError, VkubeError

Object = dict[str, Any]

PART_OF = ("app.kubernetes.io/part-of", "vanadium-cluster")
"""The label that every object of the control plane has."""
CLUSTER_AGENT, WEBHOOK = "cluster-agent", "webhook"
DATA_CLAIM = "cluster-agent-data"
CLAIM_SECRET, CLAIM_CODE = "cluster-agent-claim", "code"
PREFIX = "VANADIUM_CLUSTER_AGENT_"
NAME_PREFIX, ADMINISTRATORS, CLAIM = f"{PREFIX}NAME_PREFIX", f"{PREFIX}ADMINISTRATORS", f"{PREFIX}CLAIM"
_DEFAULT_PREFIX = "acme:prod"
_OF_THE_CLUSTER = (
    "Namespace",
    "ClusterRole",
    "ClusterRoleBinding",
    "MutatingWebhookConfiguration",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
)
_SHARED_NAMESPACES = ("default", "kube-system", "kube-public", "kube-node-lease")
# As a whole word: in expressions, names of users, URLs and selectors too.
_NAMESPACE = re.compile(rf"(?<![\w-]){NAMESPACE}(?![\w-])")


def directory() -> Path:
    """The directory `deploy`: of the wheel, or of the checkout. Raises VkubeError."""
    package = Path(__file__).parents[1]
    for found in (package / "deploy", package.parent / "deploy"):
        if (found / "base" / "kustomization.yaml").is_file():
            return found
    raise VkubeError(f"this installation of vkube has no manifests ({package / 'deploy'}): install it again")


def rendered(configuration: Configuration) -> list[Object]:
    """Every object of the control plane, in the order in which they are made. Raises ConfigurationError."""
    agent = configuration.cluster_agent
    _check_namespace(agent.namespace)
    objects = [_in_namespace(one, agent.namespace) for one in _base(directory() / "base")]
    claimed = claims(configuration)
    for patch in _patches(configuration, claimed=claimed):
        _patch(objects, patch)
    if agent.persistent_volume_claim or agent.persistent_disk:
        objects = [one for one in objects if one["kind"] != "PersistentVolumeClaim"]
        _set_data_volume(_deployment(objects, CLUSTER_AGENT), agent)
    return objects


def claims(configuration: Configuration) -> bool:
    """Returns whether an administrator claims the cluster agent for a root of theirs.

    So it is when clusterAgent.admin is a name under such a root: without a claim, a cluster agent recognises
    no administrator's root but the control plane's own. Raises ConfigurationError.
    """
    agent = configuration.cluster_agent
    try:
        prefix = Name.parse(prefix_of(configuration))
    except InvalidName as error:
        raise ConfigurationError(f"clusterAgent.blessing: {error}") from error
    if agent.admin is None:
        return False
    try:
        admin = Pattern.parse(agent.admin)
    except InvalidPattern as error:
        raise ConfigurationError(f"clusterAgent.admin: {error}") from error
    if admin.name is not None and admin.name.root == ROOT_NAME:
        return False
    if admin.overlaps(Pattern(prefix)):
        raise ConfigurationError(
            f"clusterAgent.admin: {admin} matches names below {prefix}, so replicas could administer; write "
            f"{prefix.root}:administrator"
        )
    if admin.name is None or admin.name.root != prefix.root:
        raise ConfigurationError(
            f"clusterAgent.admin: {admin} is neither under the root {prefix.root} of clusterAgent.blessing "
            f"nor under {ROOT_NAME}, so the cluster agent would not recognise it"
        )
    if len(prefix.components) < 2:
        raise ConfigurationError(
            f"clusterAgent.blessing: {prefix} is a root; your root delegates a name below it, as "
            f"{prefix}:prod"
        )
    return True


def prefix_of(configuration: Configuration) -> str:
    """The name prefix of every application."""
    return configuration.cluster_agent.blessing or _DEFAULT_PREFIX


def environment_of(deployment: Mapping[str, Any]) -> dict[str, str]:
    """The variables of a Deployment's first container that have a plain value."""
    container = deployment["spec"]["template"]["spec"]["containers"][0]
    return {one["name"]: str(one["value"]) for one in container.get("env") or [] if "value" in one}


def _check_namespace(name: str) -> None:
    if name in _SHARED_NAMESPACES:
        raise ConfigurationError(
            f"clusterAgent.namespace: {name} is shared with others, and who may read Secrets beside the "
            f"control plane could take its keys; choose a namespace of its own, as {NAMESPACE}"
        )


def _base(base: Path) -> Iterator[Object]:
    kustomization = yaml.safe_load((base / "kustomization.yaml").read_text())
    labels = {name: value for one in kustomization["labels"] for name, value in one["pairs"].items()}
    for file in kustomization["resources"]:
        for one in yaml.safe_load_all((base / file).read_text()):
            metadata = one["metadata"]
            metadata["labels"] = {**metadata.get("labels", {}), **labels}
            yield one


def _in_namespace(manifest: Object, namespace: str) -> Object:
    if manifest["kind"] not in _OF_THE_CLUSTER:
        manifest["metadata"]["namespace"] = NAMESPACE
    moved: Object = json.loads(_NAMESPACE.sub(namespace, json.dumps(manifest)))
    return moved


def _patches(configuration: Configuration, *, claimed: bool) -> Iterator[Object]:
    agent = configuration.cluster_agent
    if claimed:
        yield yaml.safe_load((directory() / "components" / "claim" / "cluster-agent.yaml").read_text())
    container: Object = {"image": agent.image, "env": _environment({NAME_PREFIX: prefix_of(configuration)})}
    if agent.admin is not None:
        container["env"] += _environment({ADMINISTRATORS: agent.admin})
    resources = container["resources"] = {"requests": {}, "limits": {}}
    if agent.cpu is not None:
        resources["requests"]["cpu"] = agent.cpu
    if agent.memory is not None:
        resources["requests"]["memory"] = resources["limits"]["memory"] = agent.memory
    yield _of_container(CLUSTER_AGENT, container)
    image = _environment({"VANADIUM_WEBHOOK_POD_AGENT_IMAGE": configuration.pod_agent.image})
    yield _of_container(WEBHOOK, {"image": configuration.webhook_image, "env": image})
    if agent.storage is not None:
        resources = {"requests": {"storage": agent.storage}}
        metadata = {"name": DATA_CLAIM}
        yield {"kind": "PersistentVolumeClaim", "metadata": metadata, "spec": {"resources": resources}}


def _environment(variables: Mapping[str, str]) -> list[Object]:
    return [{"name": name, "value": value} for name, value in variables.items()]


def _of_container(deployment: str, container: Object) -> Object:
    pod = {"containers": [{"name": deployment, **container}]}
    return {
        "kind": "Deployment",
        "metadata": {"name": deployment},
        "spec": {"template": {"spec": pod}},
    }


def _patch(objects: Iterable[Object], patch: Object) -> None:
    """Patches the object of that kind and name, as a strategic merge does."""
    (found,) = (
        one
        for one in objects
        if one["kind"] == patch["kind"] and one["metadata"]["name"] == patch["metadata"]["name"]
    )
    patch = {key: value for key, value in patch.items() if key not in ("apiVersion", "kind", "metadata")}
    _merge(found, patch)


def _merge(into: Object, patch: Mapping[str, Any]) -> None:
    for key, value in patch.items():
        if isinstance(value, dict):
            _merge(into.setdefault(key, {}), value)
        elif isinstance(value, list) and all(isinstance(one, dict) for one in value):
            _merge_lists(into.setdefault(key, []), value)
        else:
            into[key] = value


def _merge_lists(into: list[Object], patch: Iterable[Object]) -> None:
    for one in patch:
        key = "mountPath" if "mountPath" in one else "name"
        found = next((item for item in into if item[key] == one[key]), None)
        if found is None:
            into.append(one)
        else:
            _merge(found, one)


def _deployment(objects: Iterable[Object], name: str) -> Object:
    (found,) = (one for one in objects if one["kind"] == "Deployment" and one["metadata"]["name"] == name)
    return found


def _set_data_volume(deployment: Object, agent: ClusterAgentSection) -> None:
    source: Object = {"gcePersistentDisk": {"pdName": agent.persistent_disk, "fsType": "ext4"}}
    if agent.persistent_volume_claim is not None:
        source = {"persistentVolumeClaim": {"claimName": agent.persistent_volume_claim}}
    volumes = deployment["spec"]["template"]["spec"]["volumes"]
    volumes[:] = [{"name": "data", **source} if one["name"] == "data" else one for one in volumes]
