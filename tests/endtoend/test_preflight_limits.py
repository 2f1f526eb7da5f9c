"""What `vkube preflight` foresees of LimitRanges and ResourceQuotas is what a real API server then does."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.endtoend.installation import Installation
from tests.pods import container, pod
from tests.vkube.command import called
from tests.waiting import wait_for
from vkube.connection.cluster import Cluster
from vkube.errors import ForbiddenError
from webhook.layout import BOOTSTRAP_SECRET

JSONObject = dict[str, Any]


def resources(**amounts: str) -> JSONObject:
    """`limits_memory="64Mi"` and such."""
    found: JSONObject = {}
    for name, amount in amounts.items():
        field, _, resource = name.partition("_")
        found.setdefault(field, {})[resource.replace("_", "-")] = amount
    return found


SMALL = resources(limits_cpu="200m", limits_memory="64Mi")
LARGE = resources(requests_cpu="500m", requests_memory="256Mi", limits_cpu="500m", limits_memory="256Mi")
PODS = {
    "plain": pod(),
    "limited": pod(container(resources=SMALL)),
    "half": pod(container(resources=SMALL), container("second")),
    "initial": pod(container(resources=SMALL), init=[container("first", resources=LARGE)]),
    "sidecar": pod(
        container(resources=SMALL), init=[container("s", restartPolicy="Always", resources=SMALL)]
    ),
    "whole": pod(resources=resources(limits_cpu="1", limits_memory="400Mi")),
    "requesting": pod(container(resources=resources(requests_cpu="100m", requests_memory="64Mi"))),
}
# Its container requests the limits of the whole Pod.
SUMMED = pod(
    container(resources=resources(requests_cpu="1", requests_memory="400Mi")),
    resources=resources(limits_cpu="1", limits_memory="400Mi"),
)


def limit(kind: str, **bounds: JSONObject) -> JSONObject:
    return {"limits": [{"type": kind, **bounds}]}


LIMIT_RANGES = {
    "container-max": limit("Container", max={"memory": "64Mi"}),
    "container-max-other": limit("Container", max={"ephemeral-storage": "1Gi"}),
    "container-default": limit("Container", default={"cpu": "200m", "memory": "64Mi"}),
    "container-ratio": limit("Container", maxLimitRequestRatio={"memory": "2"}),
    "pod-max": limit("Pod", max={"memory": "160Mi"}),
    "pod-min": limit("Pod", min={"memory": "80Mi"}),
    "pod-ratio": limit("Pod", maxLimitRequestRatio={"memory": "2"}),
}


def hard(*scopes: str, **amounts: str) -> JSONObject:
    named = {key.replace("__", "/").replace("_", "."): value for key, value in amounts.items()}
    return {"hard": named, **({"scopes": list(scopes)} if scopes else {})}


QUOTAS: dict[str, tuple[str, JSONObject]] = {
    "memory-room": ("limited", hard(limits_memory="160Mi", requests_memory="96Mi")),
    "requests-full": ("limited", hard(requests_memory="95Mi")),
    "initial-full": ("initial", hard(limits_memory="351Mi")),
    "initial-room": ("initial", hard(limits_memory="352Mi", requests_cpu="510m")),
    "whole-asking": ("whole", hard(requests_memory="495Mi")),
    "whole-room": ("whole", hard(limits_memory="496Mi", requests_memory="496Mi", requests_cpu="1500m")),
    "pods": ("plain", hard(pods="1", count__pods="1")),
    "pods-of-others": ("plain", hard("NotBestEffort", pods="0")),
    "demanding-others": ("plain", hard("NotBestEffort", requests_cpu="8")),
    "best-effort": ("plain", hard("BestEffort", pods="1")),
}
SECRETS = {
    "secrets-full": hard(secrets="0"),
    "secrets-counted": hard(count__secrets="0"),
    "secrets-room": hard(secrets="1"),
}


@pytest.fixture(scope="module")
def reached(installed: Installation) -> Iterator[Cluster]:
    options = argparse.Namespace(
        kubeconfig=installed.control_plane.kubeconfig, context=None, config=None, namespace=None
    )
    with Cluster.of(options) as api:
        yield api


def preflight(installed: Installation, name: str) -> tuple[int, list[JSONObject], str]:
    ended = called("preflight", name, "--kubeconfig", installed.control_plane.kubeconfig, "-o", "json")
    return ended.code, json.loads(ended.stdout)["items"], ended.stderr


def new_namespace(installed: Installation, name: str, kind: str, spec: JSONObject) -> None:
    """With the rule before any Pod: the API server remembers for half a minute that there was none."""
    installed.apply(
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}},
        {"apiVersion": "v1", "kind": kind, "metadata": {"name": "rule", "namespace": name}, "spec": spec},
    )


def wait_for_quota(reached: Cluster, name: str, used: str | None = None) -> None:
    """Until the quota counts, and what it counts of Pods is this much."""

    def counted() -> bool:
        status = reached.get(f"/api/v1/namespaces/{name}/resourcequotas/rule").get("status") or {}
        amounts = (status.get("used") or {}).values()
        return bool(status.get("hard")) and (used is None or set(amounts) <= {used})

    wait_for("the quota's status", counted)
    wait_for("a service account", lambda: reached.find(f"/api/v1/namespaces/{name}/serviceaccounts/default"))


def refusal(reached: Cluster, name: str, kind: str, subject: JSONObject) -> str:
    try:
        reached.create(f"/api/v1/namespaces/{name}/{kind}", subject, dryRun="All")
    except ForbiddenError as error:
        return str(error)
    return ""


def deployment(namespace: str, name: str, subject: JSONObject) -> JSONObject:
    template = {"metadata": {"labels": {"app": name}}, "spec": subject["spec"]}
    spec = {"replicas": 0, "selector": {"matchLabels": {"app": name}}, "template": template}
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec}


def wait_until_called(reached: Cluster, name: str) -> None:
    """Until the API server knows of the label, and asks the webhook."""
    wrong = pod(annotations={"vanadium.io/ttl": "long"})
    wait_for("a call of the webhook", lambda: "vanadium.io/ttl" in refusal(reached, name, "pods", wrong))


@pytest.mark.parametrize("rule", LIMIT_RANGES)
def test_a_limit_range_refuses_what_preflight_says_and_nothing_else(
    installed: Installation, reached: Cluster, rule: str
) -> None:
    new_namespace(installed, rule, "LimitRange", LIMIT_RANGES[rule])
    wait_for("a service account", lambda: reached.find(f"/api/v1/namespaces/{rule}/serviceaccounts/default"))
    installed.apply(*(deployment(rule, title, subject) for title, subject in PODS.items()))
    code, rows, _ = preflight(installed, rule)
    foreseen = {one["workload"].removeprefix("deployment/"): one for one in rows}
    installed.kubectl("label", "namespace", rule, "vanadium.io/inject=enabled")
    wait_until_called(reached, rule)
    found = {title: refusal(reached, rule, "pods", subject) for title, subject in PODS.items()}
    differing = {
        title: (foreseen[title]["result"], foreseen[title]["whatToDo"], why)
        for title, why in found.items()
        if (foreseen[title]["result"] == "refused") != bool(why)
    }
    assert differing == {}
    assert code == (4 if any(found.values()) else 0)
    installed.kubectl("delete", "namespace", rule, "--wait=false")


def test_a_quota_refuses_what_preflight_says_and_nothing_else(
    installed: Installation, reached: Cluster
) -> None:
    for name, (_, spec) in QUOTAS.items():
        new_namespace(installed, name, "ResourceQuota", spec)
    for name, (title, _) in QUOTAS.items():
        wait_for_quota(reached, name)
        subject = json.loads(json.dumps(PODS[title]))
        subject["spec"]["nodeSelector"] = {"nowhere": "yes"}
        reached.create(f"/api/v1/namespaces/{name}/pods", subject)
    foreseen = {}
    for name in QUOTAS:
        code, _, lines = preflight(installed, name)
        foreseen[name] = (code == 4, lines)
        assert (code == 4) == ("ResourceQuota rule" in lines)
    for name in QUOTAS:
        installed.kubectl("label", "namespace", name, "vanadium.io/inject=enabled")
        reached.delete(f"/api/v1/namespaces/{name}/pods/web-1", {"gracePeriodSeconds": 0})
    differing = {}
    for name, (title, _) in QUOTAS.items():
        wait_for_quota(reached, name, used="0")
        wait_until_called(reached, name)
        why = refusal(reached, name, "pods", PODS[title])
        if foreseen[name][0] != bool(why):
            differing[name] = (foreseen[name], why)
    assert differing == {}
    for subject in (PODS["whole"], SUMMED):
        made = reached.create("/api/v1/namespaces/whole-room/pods", subject, dryRun="All")
        assert made["status"]["qosClass"] == "Guaranteed"
    for name in QUOTAS:
        installed.kubectl("delete", "namespace", name, "--wait=false")


@pytest.mark.parametrize("rule", SECRETS)
def test_a_quota_without_room_for_the_secret_is_named(
    installed: Installation, reached: Cluster, rule: str
) -> None:
    new_namespace(installed, rule, "ResourceQuota", SECRETS[rule])
    wait_for_quota(reached, rule)
    reached.create(f"/api/v1/namespaces/{rule}/pods", {**PODS["plain"], "spec": {**PODS["plain"]["spec"]}})
    code, _, lines = preflight(installed, rule)
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": BOOTSTRAP_SECRET}}
    refused = refusal(reached, rule, "secrets", secret)
    assert (code == 4) == bool(refused) == ("the Secret vanadium-bootstrap" in lines)
    if refused:
        (key,) = SECRETS[rule]["hard"]
        assert f"1 more of {key} is needed for the Secret vanadium-bootstrap, and 0 is left" in lines
    else:
        installed.kubectl("label", "namespace", rule, "vanadium.io/inject=enabled")
        wait_for("the Secret", lambda: reached.find(f"/api/v1/namespaces/{rule}/secrets/{BOOTSTRAP_SECRET}"))
        # What is there needs no room.
        assert preflight(installed, rule)[0] == 0
    installed.kubectl("delete", "namespace", rule, "--wait=false")
