"""Pods of every shape that the webhook or the policy vanadium-not-injected distinguishes, drawn by a seed."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import replace
from random import Random
from typing import Any

from tests.operating_systems import FOR_WINDOWS, PERHAPS_FOR_LINUX
from tests.pods import container, pod
from tests.webhook.applying import CONFIGURATION, injected, named
from webhook import volume
from webhook.layout import BOOTSTRAP_VOLUME, CONTAINER, INJECT_LABEL, SOCKET_VOLUME, TOKEN_VOLUME

JSONObject = dict[str, Any]
Change = Callable[[JSONObject], None]

_LABELS = (None, None, None, "enabled", "disabled", "maybe", "", "Enabled")
_SYSTEMS = [one for one, _ in FOR_WINDOWS] + PERHAPS_FOR_LINUX
_VOLUME_CHANGES: list[tuple[str, JSONObject]] = [
    ("volume", {"name": "vanadium-identity-2"}),
    ("volume", {"projected": {"sources": []}}),
    ("certificate", {"signerName": "example.com/own"}),
    ("certificate", {"keyType": "ED25519"}),
    ("certificate", {"credentialBundlePath": "own.pem"}),
    ("certificate", {"keyPath": "own.key"}),
    ("certificate", {"certificateChainPath": "own.crt"}),
    ("certificate", {"userAnnotations": {"example.com/own": "a"}}),
    ("roots", {"name": "example.com:own:roots"}),
    ("roots", {"path": "own.crt"}),
    ("roots", {"optional": True}),
    ("federated", {"optional": False}),
    ("federated", {"path": "federated/other.crt"}),
    ("federated", {"name": "vanadium.io:replica:roots"}),
]
_ANNOTATIONS: tuple[dict[str, str], ...] = (
    {},
    {},
    {"vanadium.io/ttl": "1h"},
    {"vanadium.io/ttl": "soon"},
    {"vanadium.io/containers": "web"},
    {"vanadium.io/delivery": "volume"},
    {"vanadium.io/delivery": "auto"},
    {"vanadium.io/delivery": "mail"},
)


def pods(count: int, seed: int) -> Iterator[JSONObject]:
    """So many Pods, each with a name of its own."""
    random = Random(seed)
    for number in range(count):
        yield _pod(random, f"shape-{number}")


def _pod(random: Random, name: str) -> JSONObject:
    base = random.choice(_SYSTEMS) if random.random() < 0.2 else pod(*_containers(random))
    made = copy.deepcopy(base)
    made["metadata"] = {"generateName": f"{name}-"} if random.random() < 0.2 else {"name": name}
    spec = made["spec"]
    if random.random() < 0.2:
        spec["initContainers"] = [*spec.get("initContainers", []), container("first")]
    if random.random() < 0.15:
        spec["hostNetwork"] = random.choice([True, True, False])
    if random.random() < 0.2:
        spec["serviceAccountName"] = random.choice(["default", "web"])
    if random.random() < 0.1:
        spec["futureField"] = {"a": [1]}
    if random.random() < 0.4:
        made = _with_agent(random, made)
    elif random.random() < 0.2:
        spec.setdefault("volumes", []).append(_identity_volume(random))
    # After the injection, which would refuse some of these.
    if (label := random.choice(_LABELS)) is not None:
        made["metadata"]["labels"] = {INJECT_LABEL: label, "app": "web"}
    if annotations := random.choice(_ANNOTATIONS):
        made["metadata"]["annotations"] = dict(annotations)
    if random.random() < 0.25:
        random.choice(_CHANGES)(made)
    return made


def _containers(random: Random) -> list[JSONObject]:
    return [container(name) for name in random.sample(["web", "proxy", "log"], random.randint(1, 3))]


def _with_agent(random: Random, made: JSONObject) -> JSONObject:
    """The Pod with the pod agent, as it is, or not quite as it has to be."""
    configuration = replace(CONFIGURATION, native_sidecar=random.random() < 0.7)
    done = injected(made, configuration)
    if random.random() < 0.6:
        random.choice(_AGENT_CHANGES)(done)
    return done


def _identity_volume(random: Random) -> JSONObject:
    """The volume that the kubelet keeps, as it is, or not quite as it has to be."""
    made = volume.volume(random.choice([None, 7200]), random.choice([(), ("partner",), ("a.example", "b")]))
    certificate, roots, *federated = made["projected"]["sources"]
    if random.random() < 0.6:
        places = {
            "volume": made,
            "certificate": certificate["podCertificate"],
            "roots": roots["clusterTrustBundle"],
            "federated": federated[-1]["clusterTrustBundle"] if federated else {},
        }
        place, changes = random.choice(_VOLUME_CHANGES)
        places[place].update(changes)
    return made


def _agent(made: JSONObject) -> JSONObject:
    everything = [*made["spec"].get("initContainers", []), *made["spec"]["containers"]]
    return named(everything, CONTAINER)


def _volume(made: JSONObject, name: str) -> JSONObject:
    return named(made["spec"]["volumes"], name)


def _no_restart_policy(made: JSONObject) -> None:
    if _agent(made).pop("restartPolicy", None):
        # Only sidecars may have these.
        for probe in ("startupProbe", "livenessProbe"):
            _agent(made).pop(probe, None)


def _other_image(made: JSONObject) -> None:
    _agent(made)["image"] = "mirror.example/pod-agent:0"


def _without_mount(name: str) -> Change:
    def change(made: JSONObject) -> None:
        agent = _agent(made)
        agent["volumeMounts"] = [one for one in agent["volumeMounts"] if one["name"] != name]

    return change


def _moved_mount(name: str) -> Change:
    def change(made: JSONObject) -> None:
        for mount in _agent(made)["volumeMounts"]:
            if mount["name"] == name:
                mount["mountPath"] = "/elsewhere"

    return change


def _renamed(made: JSONObject) -> None:
    _agent(made)["name"] = "vanadium-pod-agent-2"


def _other_volume(name: str) -> Change:
    def change(made: JSONObject) -> None:
        changed = _volume(made, name)
        changed.clear()
        changed.update({"name": name, "configMap": {"name": "own"}})

    return change


def _other_account(made: JSONObject) -> None:
    made["spec"]["serviceAccountName"] = "another"


def _other_key(made: JSONObject) -> None:
    _volume(made, BOOTSTRAP_VOLUME)["secret"]["items"][0]["key"] = "another"


def _one_item(made: JSONObject) -> None:
    """As 0.1.0 injected."""
    del _volume(made, BOOTSTRAP_VOLUME)["secret"]["items"][1]


def _more_items(made: JSONObject) -> None:
    _volume(made, BOOTSTRAP_VOLUME)["secret"]["items"].append({"key": "web", "path": "another"})


def _other_secret(made: JSONObject) -> None:
    _volume(made, BOOTSTRAP_VOLUME)["secret"]["secretName"] = "own"


def _other_token(made: JSONObject) -> None:
    _volume(made, TOKEN_VOLUME)["projected"]["sources"][0]["serviceAccountToken"]["path"] = "own"


def _another_container(made: JSONObject) -> None:
    """Which another webhook added afterwards."""
    made["spec"]["containers"].append(container("added"))


_VOLUMES = (SOCKET_VOLUME, BOOTSTRAP_VOLUME, TOKEN_VOLUME)
_AGENT_CHANGES: list[Change] = [
    *(_no_restart_policy, _other_image, _renamed, _other_account, _other_key, _one_item, _more_items),
    *(_other_secret, _other_token, _another_container),
    *(_without_mount(name) for name in _VOLUMES),
    *(_moved_mount(name) for name in _VOLUMES),
    *(_other_volume(name) for name in _VOLUMES),
]


def _by_name_only(made: JSONObject) -> None:
    if not any(one["name"] == CONTAINER for one in made["spec"]["containers"]):
        made["spec"]["containers"].append(container(CONTAINER))


def _own_volume(made: JSONObject) -> None:
    if not any(one["name"] == SOCKET_VOLUME for one in made["spec"].get("volumes", [])):
        made["spec"].setdefault("volumes", []).append({"name": SOCKET_VOLUME, "emptyDir": {}})


def _own_port(made: JSONObject) -> None:
    made["metadata"]["annotations"] = {"vanadium.io/metrics-port": "9000"}
    made["spec"]["containers"][0]["ports"] = [{"containerPort": 9000}]


def _own_variable(made: JSONObject) -> None:
    made["spec"]["containers"][0]["env"] = [{"name": "V23_AGENT_PATH", "value": "/own"}]


def _own_mount(made: JSONObject) -> None:
    made["spec"].setdefault("volumes", []).append({"name": "own", "emptyDir": {}})
    made["spec"]["containers"][0]["volumeMounts"] = [{"name": "own", "mountPath": "/run/vanadium"}]


def _mirror(made: JSONObject) -> None:
    made["metadata"].setdefault("annotations", {})["kubernetes.io/config.mirror"] = "a"


_CHANGES: list[Change] = [_by_name_only, _own_volume, _own_port, _own_variable, _own_mount, _mirror]
