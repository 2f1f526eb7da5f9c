"""The manifests of deploy/ on a real API server: what it accepts, and what each part may and may not do."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from blessings import Name
from cluster_agent.roots.mounted_files import MountedFiles, check
from tests.checkout import CHECKOUT
from tests.cluster.installation import in_shell, uninstalling
from tests.controlplane.control_plane import ControlPlane
from tests.endtoend.installation import SYSTEM
from tests.mounting import CertificateAuthority
from tests.pods import pod
from tests.waiting import wait_for
from tests.webhook.applying import injected

WEBHOOK = f"system:serviceaccount:{SYSTEM}:webhook"
CLUSTER_AGENT = f"system:serviceaccount:{SYSTEM}:cluster-agent"
POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "plain"},
    "spec": {"containers": [{"name": "c", "image": "none"}]},
}


@pytest.fixture(scope="module")
def applied(control_plane: ControlPlane) -> ControlPlane:
    control_plane.kubectl("apply", "-k", "deploy")
    return control_plane


@pytest.fixture(scope="module")
def webhook(applied: ControlPlane) -> Path:
    """A kubeconfig of the webhook's service account, whose rights are in force."""
    wait_for("the webhook's rights", lambda: _may(applied, WEBHOOK, "create", "secrets") == "yes")
    token = applied.kubectl("create", "token", "webhook", "-n", SYSTEM).stdout.strip()
    return applied.kubeconfig_for(token, "webhook")


def _may(control_plane: ControlPlane, who: str, verb: str, resource: str) -> str:
    """Whether the account may do it, as the API server answers: yes or no."""
    asked = control_plane.kubectl("auth", "can-i", verb, resource, "-A", f"--as={who}", check=False)
    return asked.stdout.strip()


@pytest.fixture
def namespace(applied: ControlPlane, request: pytest.FixtureRequest) -> Iterator[str]:
    name = f"deploy-{abs(hash(request.node.nodeid)) % 10**8}"
    applied.kubectl("create", "namespace", name)
    wait_for("default service account", lambda: _can_get(applied, name, "serviceaccount/default"))
    yield name
    applied.kubectl("delete", "namespace", name, "--wait=false")


def _can_get(control_plane: ControlPlane, namespace: str, what: str) -> bool:
    return control_plane.kubectl("get", what, "-n", namespace, check=False).returncode == 0


def secret(name: str, kind: str, **metadata: Any) -> str:
    body = {"apiVersion": "v1", "kind": "Secret", "type": kind, "metadata": {"name": name, **metadata}}
    # Without these, a kubernetes.io/tls Secret is refused before any policy looks at it.
    return json.dumps({**body, "data": {"tls.crt": "", "tls.key": ""}})


def test_the_postgresql_overlay_is_accepted_and_keeps_nothing_on_a_volume(applied: ControlPlane) -> None:
    overlay = "deploy/overlays/postgresql"
    answer = applied.kubectl("apply", "-k", overlay, "--dry-run=server", "-o", "json").stdout
    items = json.loads(answer)["items"]
    (agent,) = [
        one for one in items if (one["kind"], one["metadata"]["name"]) == ("Deployment", "cluster-agent")
    ]
    assert agent["spec"]["replicas"] == 2
    assert agent["spec"]["strategy"]["type"] == "RollingUpdate"
    pod = agent["spec"]["template"]["spec"]
    assert {one["name"] for one in pod["volumes"]} == {"database", "keys", "serving"}
    assert all(mount["readOnly"] for mount in pod["containers"][0]["volumeMounts"])
    assert "PersistentVolumeClaim" not in {one["kind"] for one in items}


def rendered(control_plane: ControlPlane, overlay: str) -> list[dict[str, Any]]:
    return [one for one in yaml.safe_load_all(control_plane.kubectl("kustomize", overlay).stdout) if one]


def accepted(control_plane: ControlPlane, objects: list[dict[str, Any]]) -> dict[tuple[str, str], Any]:
    """What the API server would make of them, by kind and name."""
    items = json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
    answer = control_plane.kubectl("apply", "-f", "-", "--dry-run=server", "-o", "json", stdin=items).stdout
    return {(one["kind"], one["metadata"]["name"]): one for one in json.loads(answer)["items"]}


def test_the_claim_component_fits_the_postgresql_overlay_too(
    applied: ControlPlane, tmp_path_factory: pytest.TempPathFactory
) -> None:
    # kustomize takes no absolute paths.
    directory = tmp_path_factory.mktemp("overlay")
    deploy = os.path.relpath(CHECKOUT / "deploy", directory)
    (directory / "kustomization.yaml").write_text(
        f"resources: [{deploy}/overlays/postgresql]\ncomponents: [{deploy}/components/claim]\n"
    )
    agent = accepted(applied, rendered(applied, str(directory)))["Deployment", "cluster-agent"]
    container = agent["spec"]["template"]["spec"]["containers"][0]
    variables = {one["name"].removeprefix("VANADIUM_CLUSTER_AGENT_") for one in container["env"]}
    assert {"CLAIM", "CLAIM_CODE_FILE", "DATABASE_URL", "KEYS_DIRECTORY"} <= variables
    volumes = {one["name"] for one in agent["spec"]["template"]["spec"]["volumes"]}
    assert volumes == {"claim", "database", "keys", "serving"}
    assert container["startupProbe"]["httpGet"]["path"] == "/healthz"


def test_who_waits_for_a_claim_is_not_failed_for_a_day_and_the_code_is_for_the_agents_group_alone(
    applied: ControlPlane,
) -> None:
    objects = rendered(applied, "deploy/overlays/claim")
    agent = accepted(applied, objects)["Deployment", "cluster-agent"]["spec"]
    assert agent["progressDeadlineSeconds"] == 86400
    (volume,) = [one for one in agent["template"]["spec"]["volumes"] if one["name"] == "claim"]
    assert volume["secret"]["defaultMode"] == 0o440
    assert volume["secret"]["optional"]


def test_the_cert_manager_overlay_is_accepted_but_for_its_custom_resources(applied: ControlPlane) -> None:
    """Its custom resources are accepted in test_overlays.py, with cert-manager's definitions."""
    objects = rendered(applied, "deploy/overlays/cert-manager")
    foreign = {one["kind"] for one in objects if one["apiVersion"].startswith("cert-manager.io/")}
    assert foreign == {"Certificate", "Issuer"}
    ours = accepted(applied, [one for one in objects if one["kind"] not in foreign])
    pod = ours["Deployment", "cluster-agent"]["spec"]["template"]["spec"]
    (volume,) = [one for one in pod["volumes"] if one["name"] == "issuing"]
    (mount,) = [one for one in pod["containers"][0]["volumeMounts"] if one["name"] == "issuing"]
    (variable,) = [one for one in pod["containers"][0]["env"] if one["name"].endswith("ISSUING_DIRECTORY")]
    assert variable["value"] == mount["mountPath"]
    assert mount["readOnly"]
    assert {one["path"] for one in volume["secret"]["items"]} == {"tls.crt", "tls.key", "ca.crt"}
    (certificate,) = [one for one in objects if one["metadata"]["name"] == "cluster-agent-issuing"]
    assert certificate["spec"]["secretName"] == volume["secret"]["secretName"]


def test_what_the_cert_manager_overlay_asks_for_is_taken_by_the_agent(applied: ControlPlane) -> None:
    objects = rendered(applied, "deploy/overlays/cert-manager")
    certificates = {
        one["metadata"]["name"]: one["spec"] for one in objects if one.get("kind") == "Certificate"
    }
    issuers = {one["metadata"]["name"]: one["spec"] for one in objects if one.get("kind") == "Issuer"}
    root, issuing = certificates["acme-root"], certificates["cluster-agent-issuing"]
    assert issuers[issuing["issuerRef"]["name"]]["ca"]["secretName"] == root["secretName"]
    assert "selfSigned" in issuers[root["issuerRef"]["name"]]
    for spec in (root, issuing):
        assert (spec["isCA"], spec["usages"]) == (True, ["cert sign", "crl sign"])
        assert spec["privateKey"] == {"algorithm": "ECDSA", "size": 256, "rotationPolicy": "Always"}
        assert spec["uris"] == ["spiffe://acme"]
    now = datetime.now(UTC)
    (root_name,) = components(root)
    authority = CertificateAuthority.create(now, name=root_name)
    data = authority.issue(now, components=components(issuing), lifetime=hours(issuing["duration"]))
    (agent,) = [
        one for one in objects if one["metadata"]["name"] == "cluster-agent" and one["kind"] == "Deployment"
    ]
    variables = {
        one["name"]: one.get("value") for one in agent["spec"]["template"]["spec"]["containers"][0]["env"]
    }
    check(
        MountedFiles(data["tls.crt"], data["tls.key"], data["ca.crt"]),
        prefix=Name.parse(variables["VANADIUM_CLUSTER_AGENT_NAME_PREFIX"]),
        at_least=timedelta(days=1),
        known_roots={},
        gone=(),
        now=now,
    )
    assert hours(issuing["renewBefore"]) > 2 * timedelta(days=1)
    assert hours(root["renewBefore"]) > hours(issuing["duration"])


def components(spec: dict[str, Any]) -> tuple[str, ...]:
    """Of a literalSubject, which has the last first."""
    return tuple(part.removeprefix("DC=") for part in reversed(spec["literalSubject"].split(",")))


def hours(duration: str) -> timedelta:
    return timedelta(hours=int(duration.removesuffix("h")))


def test_the_commands_that_uninstall_work_where_there_are_no_cluster_trust_bundles(
    applied: ControlPlane,
) -> None:
    """As before Kubernetes 1.37: kubectl fails for a resource that the API server does not have."""
    last = "kubectl api-resources" + uninstalling().split("kubectl api-resources")[1]
    assert applied.kubectl("delete", "nothing-like-it", "-l", "a=b", check=False).returncode != 0
    in_shell(applied.kubectl, last.replace("clustertrustbundles", "nothing-like-it"))
    served = applied.kubectl("api-resources", "--api-group=certificates.k8s.io", "-o", "name").stdout
    assert "clustertrustbundles" in served, "what the command looks for"


def test_who_may_connect_to_the_control_plane(applied: ControlPlane) -> None:
    policies = {
        one["metadata"]["name"]: one["spec"]
        for one in applied.kubectl.get("networkpolicies", "-n", SYSTEM)["items"]
    }
    assert set(policies) == {"cluster-agent", "webhook"}
    for name, spec in policies.items():
        assert spec["policyTypes"] == ["Ingress"]
        deployment = applied.kubectl.get("deployment", name, "-n", SYSTEM)["spec"]["template"]
        assert spec["podSelector"]["matchLabels"].items() <= deployment["metadata"]["labels"].items()
        named = {one["name"] for one in deployment["spec"]["containers"][0]["ports"]}
        assert {port["port"] for rule in spec["ingress"] for port in rule["ports"]} == named
        anybody = [rule["ports"][0]["port"] for rule in spec["ingress"] if "from" not in rule]
        assert anybody == ["https"]


def test_the_control_planes_own_pods_pass_pod_security_restricted(applied: ControlPlane) -> None:
    def made() -> bool:
        pods = json.loads(applied.kubectl("get", "pods", "-n", SYSTEM, "-o", "json").stdout)["items"]
        names = {pod["metadata"]["labels"]["app.kubernetes.io/name"] for pod in pods}
        return names == {"webhook", "cluster-agent"}

    wait_for("Pods of both Deployments", made)


def test_the_control_planes_own_pods_are_not_sent_to_the_webhook(applied: ControlPlane) -> None:
    applied.kubectl("label", "namespace", SYSTEM, "vanadium.io/inject=enabled")
    try:
        answer = applied.kubectl(
            "get", "mutatingwebhookconfiguration", "vanadium-webhook", "-o", "json"
        ).stdout
        for entry in json.loads(answer)["webhooks"]:
            (expression,) = entry["namespaceSelector"]["matchExpressions"]
            assert expression["operator"] == "NotIn"
            assert SYSTEM in expression["values"]
    finally:
        applied.kubectl("label", "namespace", SYSTEM, "vanadium.io/inject-")


@pytest.mark.parametrize(
    ("who", "verb", "resource", "allowed"),
    [
        (WEBHOOK, "list", "namespaces", True),
        (WEBHOOK, "watch", "serviceaccounts", True),
        (WEBHOOK, "get", "secrets/vanadium-bootstrap", True),
        (WEBHOOK, "get", "secrets/another", False),
        (WEBHOOK, "get", "secrets/cluster-agent-keys", False),
        (WEBHOOK, "list", "secrets", False),
        (WEBHOOK, "watch", "secrets", False),
        (WEBHOOK, "delete", "secrets/another", False),
        (WEBHOOK, "patch", "mutatingwebhookconfigurations/vanadium-webhook", True),
        (WEBHOOK, "patch", "mutatingwebhookconfigurations/another", False),
        (WEBHOOK, "create", "mutatingwebhookconfigurations", False),
        (WEBHOOK, "create", "events", True),
        (WEBHOOK, "update", "events/vanadium-bootstrap.excess", True),
        (WEBHOOK, "update", "events/another", False),
        (WEBHOOK, "list", "events", False),
        (WEBHOOK, "create", "pods", False),
        (WEBHOOK, "create", "serviceaccounts/token", False),
        (CLUSTER_AGENT, "create", "tokenreviews.authentication.k8s.io", True),
        (CLUSTER_AGENT, "create", "subjectaccessreviews.authorization.k8s.io", False),
        (CLUSTER_AGENT, "create", "events", True),
        (CLUSTER_AGENT, "get", "secrets/vanadium-bootstrap", False),
        (CLUSTER_AGENT, "list", "pods", True),
        (CLUSTER_AGENT, "watch", "pods", True),
        (CLUSTER_AGENT, "delete", "pods", False),
    ],
)
def test_each_part_may_do_what_it_needs_and_no_more(
    applied: ControlPlane, who: str, verb: str, resource: str, allowed: bool
) -> None:
    expected = "yes" if allowed else "no"
    # The API server follows what was applied, and what other tests deleted, a moment behind.
    wait_for(expected, lambda: _may(applied, who, verb, resource) == expected)


def test_the_webhook_can_keep_its_secret(applied: ControlPlane, webhook: Path, namespace: str) -> None:
    kubeconfig = ("--kubeconfig", str(webhook), "-n", namespace)
    bootstrap = secret("vanadium-bootstrap", "vanadium.io/bootstrap")
    applied.kubectl(*kubeconfig, "create", "-f", "-", stdin=bootstrap)
    applied.kubectl(*kubeconfig, "replace", "-f", "-", stdin=bootstrap)
    applied.kubectl(*kubeconfig, "delete", "secret", "vanadium-bootstrap")


@pytest.mark.parametrize(
    ("where", "name", "kind"),
    [
        ("kube-system", "vanadium-bootstrap", "kubernetes.io/service-account-token"),
        ("kube-system", "another", "vanadium.io/bootstrap"),
        ("kube-system", "another", "Opaque"),
        (SYSTEM, "webhook-serving", "kubernetes.io/service-account-token"),
        (SYSTEM, "another", "kubernetes.io/tls"),
    ],
)
def test_attack_the_webhooks_right_to_create_secrets_mints_no_token_of_another_service_account(
    applied: ControlPlane, webhook: Path, where: str, name: str, kind: str
) -> None:
    account = {"kubernetes.io/service-account.name": "default"}
    attempt = secret(name, kind, namespace=where, annotations=account)

    def refusal() -> str:
        tried = applied.kubectl(
            "--kubeconfig", str(webhook), "create", "--dry-run=server", "-f", "-", stdin=attempt, check=False
        )
        return tried.stderr if "vanadium-webhook-secrets" in tried.stderr else ""

    # A policy takes a moment to be in force after it was applied.
    assert "nothing else" in wait_for("a refusal", refusal)


def test_a_pod_that_was_asked_for_and_not_injected_is_refused_where_the_namespace_says_so(
    applied: ControlPlane, namespace: str
) -> None:
    """The webhook is away here, and fails open: the policy has the last word."""

    def create(pod: dict[str, Any] = POD) -> str:
        made = applied.kubectl(
            "create", "--dry-run=server", "-n", namespace, "-f", "-", stdin=json.dumps(pod), check=False
        )
        return made.stderr

    applied.kubectl("label", "namespace", namespace, "vanadium.io/inject=enabled")
    assert "identity" not in create()
    applied.kubectl("label", "namespace", namespace, "vanadium.io/enforce=warn")
    assert "Warning: " in wait_for(
        "a warning", lambda: said if "this Pod has none" in (said := create()) else ""
    )
    applied.kubectl("label", "namespace", namespace, "vanadium.io/enforce=deny", "--overwrite")
    denied = wait_for("a refusal", lambda: said if "denied" in (said := create()) else "")
    assert "label the Pod vanadium.io/inject=disabled" in denied
    opted_out = {**POD, "metadata": {"name": "out", "labels": {"vanadium.io/inject": "disabled"}}}
    assert create(opted_out) == ""


@pytest.fixture(scope="module")
def denying(applied: ControlPlane) -> Iterator[Callable[[dict[str, Any], str], bool]]:
    """Whether the policy denies a Pod of a namespace in which it refuses what was not injected."""
    places = ("denying", "kube-system")
    applied.kubectl("create", "namespace", "denying")
    wait_for("default service account", lambda: _can_get(applied, "denying", "serviceaccount/default"))
    applied.kubectl("label", "namespace", *places, "vanadium.io/inject=enabled", "vanadium.io/enforce=deny")

    def denies(pod: dict[str, Any], namespace: str = "denying") -> bool:
        made = applied.kubectl(
            "create", "--dry-run=server", "-n", namespace, "-f", "-", stdin=json.dumps(pod), check=False
        )
        assert made.returncode == 0 or "this Pod has none" in made.stderr, made.stderr
        return made.returncode != 0

    wait_for("the policy to be in force", lambda: denies(POD))
    yield denies
    applied.kubectl("label", "namespace", *places, "vanadium.io/inject-", "vanadium.io/enforce-")
    applied.kubectl("delete", "namespace", "denying", "--wait=false")


def test_the_policy_refuses_nothing_that_the_webhook_leaves_alone_on_purpose(
    denying: Callable[[dict[str, Any], str], bool],
) -> None:
    assert not denying(pod(hostNetwork=True), "denying")
    assert denying(pod(hostNetwork=True, labels={"vanadium.io/inject": "enabled"}), "denying")
    assert denying(pod(hostNetwork=False), "denying")
    assert not denying(POD, "kube-system")


def test_a_pods_own_resources_are_accepted_after_the_injection(applied: ControlPlane, namespace: str) -> None:
    def create(subject: dict[str, Any]) -> dict[str, Any]:
        made = applied.kubectl(
            "create", "--dry-run=server", "-n", namespace, "-o", "json", "-f", "-", stdin=json.dumps(subject)
        )
        created: dict[str, Any] = json.loads(made.stdout)
        return created

    few = {"cpu": "20m", "memory": "32Mi"}
    for resources in ({"requests": few}, {"limits": few}, {"requests": few, "limits": few}):
        # The webhook gets the Pod with the API server's defaults.
        defaulted = create(pod(resources=resources))
        assert create(injected({**defaulted, "metadata": {"name": "web-1"}}))["spec"]["resources"]
