"""Each check, on facts that are right and on facts that are not."""

from __future__ import annotations

import base64
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from certs.issue import CLUSTER_AGENT, WEBHOOK, serving_material
from certs.roots import ControlPlaneRoots
from vkube.admission.waiting import Waiting
from vkube.checks import after, agent, before, namespaces
from vkube.checks.check import Found, Result, Verdict, results
from vkube.checks.facts import BINDINGS, POLICIES, RIGHTS, Facts
from vkube.commands.check import shown
from vkube.configuration import Configuration
from vkube.installation.manifests import rendered
from webhook.policy import CLUSTER_NAMESPACES
from webhook.volume_support import VolumeSupport

NOW = datetime.now(UTC)
SYSTEM = "vanadium-system"
EVERY = (*before.CHECKS, *after.CHECKS, *namespaces.CHECKS, *agent.CHECKS)
ROOTS = ControlPlaneRoots.begin(NOW)


def well() -> Facts:
    """A cluster in which nothing is wrong."""
    serving = {
        one.secret: serving_material(ROOTS.signing, one, ROOTS.roots, NOW).files()
        for one in (WEBHOOK, CLUSTER_AGENT)
    }
    deployment = {"metadata": {"generation": 2}, "spec": {"replicas": 1},
                  "status": {"availableReplicas": 1, "observedGeneration": 2}}  # fmt: skip
    hook = {
        "name": "pods.vanadium.io",
        "clientConfig": {"caBundle": base64.b64encode(ROOTS.roots.to_pem().encode()).decode()},
        "failurePolicy": "Ignore",
        "reinvocationPolicy": "IfNeeded",
        "rules": [{"resources": ["pods"]}],
        "namespaceSelector": {
            "matchExpressions": [{"key": "k", "operator": "NotIn", "values": [*CLUSTER_NAMESPACES, SYSTEM]}]
        },
    }
    node = {
        "metadata": {"name": "n"},
        "status": {
            "conditions": [{"type": "Ready", "status": "True"}],
            "nodeInfo": {"operatingSystem": "linux", "kubeletVersion": "v1.37.2"},
        },
    }
    replica = {
        "metadata": {"name": "web-1"},
        "spec": {"initContainers": [{"name": "vanadium-pod-agent"}], "containers": [{"name": "web"}]},
        "status": {
            "phase": "Running",
            "initContainerStatuses": [{"name": "vanadium-pod-agent", "ready": True, "started": True}],
        },
    }
    default = {"storageclass.kubernetes.io/is-default-class": "true"}
    return Facts(
        now=NOW,
        system=SYSTEM,
        version="v1.37.2",
        groups=set(before._GROUPS),
        rights=dict.fromkeys(RIGHTS, True),
        nodes=[node],
        storage_classes=[{"metadata": {"annotations": default}}],
        system_namespace={"metadata": {"name": SYSTEM}},
        deployments={"webhook": deployment, "cluster-agent": deployment},
        pods={"webhook": [], "cluster-agent": []},
        endpoints={"webhook": 1, "cluster-agent": 1},
        secrets={"vanadium-control-plane-ca": ROOTS.files(), **serving},
        claims=[{"metadata": {"name": "data"}, "status": {"phase": "Bound"}}],
        webhook_configurations={"vanadium-webhook": {"webhooks": [hook]}},
        policies={name: {} for name in POLICIES},
        bindings={name: {} for name in BINDINGS},
        roles={name: {} for name in ("vanadium-webhook", "vanadium-cluster-agent")},
        network_policies={"webhook", "cluster-agent"},
        namespaces=[{"metadata": {"name": "shop"}}],
        bootstrap={"shop": {"data": {"default": "", "web": ""}}},
        service_accounts={"shop": ["default", "web"]},
        applications={"shop": [replica]},
        volumes=VolumeSupport(None),
        waiting={"shop": {}},
        agent={
            "health": {"root": "self-made", "attestor": "token-review"},
            "roots": [{"phase": "active", "notAfter": (NOW + timedelta(days=900)).isoformat()}],
            "publications": {"crl": {"share": 1.0, "acknowledged": 1, "liveReplicas": 1, "required": 1}},
            "applications": [{"name": "acme:prod:Web", "objection": None, "grantedUntil": None}],
        },
    )


def hook_of(facts: Facts) -> dict[str, Any]:
    hook: dict[str, Any] = facts.webhook_configurations["vanadium-webhook"]["webhooks"][0]
    return hook


def expired(facts: Facts) -> None:
    facts.now += timedelta(days=400)


def of_another_root(facts: Facts) -> None:
    other = ControlPlaneRoots.begin(NOW)
    facts.secrets["webhook-serving"] = serving_material(other.signing, WEBHOOK, other.roots, NOW).files()


def another_key(facts: Facts) -> None:
    mine, theirs = facts.secrets["webhook-serving"], facts.secrets["cluster-agent-serving"]
    assert mine is not None
    assert theirs is not None
    mine["tls.key"] = theirs["tls.key"]


def without_storage(facts: Facts) -> None:
    facts.storage_classes.clear()
    facts.claims.clear()


def without_certificate(facts: Facts) -> None:
    facts.secrets["webhook-serving"] = {"tls.key": "x"}


def not_observed(facts: Facts) -> None:
    facts.deployments["webhook"] = {"metadata": {"generation": 3}, "status": {"observedGeneration": 2}}


def node_info(facts: Facts) -> dict[str, str]:
    info: dict[str, str] = facts.nodes[0]["status"]["nodeInfo"]
    return info


def pod_of(facts: Facts) -> dict[str, Any]:
    return facts.applications["shop"][0]


def asks_for_volumes(facts: Facts, support: VolumeSupport) -> None:
    facts.volumes = support
    facts.namespaces[0]["metadata"]["annotations"] = {"vanadium.io/delivery": "volume"}


WRONG: list[tuple[str, str, Callable[[Facts], object]]] = [
    ("version of Kubernetes", "FAIL", lambda f: setattr(f, "version", "v1.29.9")),
    ("version of Kubernetes", "FAIL", lambda f: setattr(f, "version", "")),
    ("API group policy", "FAIL", lambda f: f.groups.discard("policy")),
    ("right to create secrets", "warn", lambda f: f.rights.update({("", "secrets"): False})),
    ("what is checked can be read", "warn", lambda f: f.unreadable.append("nodes")),
    ("nodes", "warn", lambda f: f.nodes.clear()),
    ("nodes are ready", "warn", lambda f: f.nodes[0]["status"]["conditions"].clear()),
    ("nodes with Linux", "FAIL", lambda f: node_info(f).update(operatingSystem="windows")),
    ("version of the kubelets", "FAIL", lambda f: node_info(f).update(kubeletVersion="v1.28.0")),
    ("storage for the cluster agent", "warn", without_storage),
    ("other webhooks on Pods", "warn", lambda f: f.webhook_configurations.update(
        {"other": {"webhooks": [{"name": "other.io", "rules": [{"resources": ["pods"]}]}]}})),
    ("namespace of the control plane", "FAIL", lambda f: setattr(f, "system_namespace", None)),
    ("webhook is available", "FAIL", lambda f: f.deployments.update(webhook=None)),
    ("cluster-agent is available", "FAIL",
     lambda f: f.deployments.update({"cluster-agent": {"metadata": {}, "spec": {"replicas": 0}}})),
    ("webhook is rolled out", "FAIL", not_observed),
    ("webhook is not restarted", "warn", lambda f: f.pods["webhook"].append(
        {"metadata": {"name": "w"}, "status": {"containerStatuses": [{"restartCount": 9}]}})),
    ("cluster-agent has the version of vkube", "warn", lambda f: f.deployments.update({"cluster-agent": {
        "metadata": {}, "status": {"availableReplicas": 1, "observedGeneration": None},
        "spec": {"replicas": 1, "template": {"spec": {"containers": [
            {"name": "cluster-agent", "image": "r/cluster-agent:0.1.0"}]}}}}})),
    ("Service webhook has endpoints", "FAIL", lambda f: f.endpoints.update(webhook=0)),
    ("Secret webhook-serving is usable", "FAIL", lambda f: f.secrets.update({"webhook-serving": None})),
    ("Secret webhook-serving is usable", "FAIL", without_certificate),
    ("Secret webhook-serving is usable", "FAIL", another_key),
    ("Secret cluster-agent-serving is usable", "FAIL", expired),
    ("Secret webhook-serving is under the root", "FAIL", of_another_root),
    ("volume of the cluster agent", "FAIL", lambda f: f.claims[0]["status"].update(phase="Pending")),
    ("webhook: caBundle", "FAIL", lambda f: hook_of(f)["clientConfig"].clear()),
    ("webhook: caBundle", "FAIL", lambda f: hook_of(f)["clientConfig"].update(caBundle="eA==")),
    ("webhook: leaves out the cluster's namespaces", "FAIL", lambda f: hook_of(f).pop("namespaceSelector")),
    ("webhook: fails open", "FAIL", lambda f: hook_of(f).update(failurePolicy="Fail")),
    ("webhook: is called again", "FAIL", lambda f: hook_of(f).update(reinvocationPolicy="Never")),
    ("webhook: fails open", "FAIL", lambda f: f.webhook_configurations.clear()),
    ("ValidatingAdmissionPolicy vanadium-not-injected", "FAIL",
     lambda f: f.policies.update({"vanadium-not-injected": None})),
    ("ClusterRole vanadium-webhook", "FAIL", lambda f: f.roles.update({"vanadium-webhook": None})),
    ("NetworkPolicies", "warn", lambda f: f.network_policies.clear()),
    ("labelled namespaces have their Secret", "FAIL", lambda f: f.bootstrap.update(shop=None)),
    ("service accounts have their credential", "warn", lambda f: f.service_accounts["shop"].append("new")),
    ("Pods of labelled namespaces have an identity", "warn",
     lambda f: pod_of(f)["spec"].pop("initContainers")),
    ("pod agents have an identity", "warn",
     lambda f: pod_of(f)["status"]["initContainerStatuses"][0].update(ready=False, started=False)),
    ("kubelets have a certificate for each volume", "warn",
     lambda f: f.waiting["shop"].update({"web-1": Waiting("its certificate was denied", "delete it")})),
    ("annotations of labelled namespaces", "FAIL",
     lambda f: f.namespaces[0]["metadata"].update(annotations={"vanadium.io/delivery": "volumes"})),
    ("annotations of labelled namespaces", "warn",
     lambda f: f.namespaces[0]["metadata"].update(annotations={"vanadium.io/delivry": "volume"})),
    ("identities in volumes are possible", "FAIL", lambda f: asks_for_volumes(f, VolumeSupport("why"))),
    ("identities in volumes are possible", "warn", lambda f: asks_for_volumes(f, VolumeSupport(None, "why"))),
    ("identities in volumes are possible", "skip", lambda f: setattr(f, "volumes", VolumeSupport("why"))),
    ("identities in volumes are possible", "skip",
     lambda f: asks_for_volumes(f, VolumeSupport("they cannot be seen", is_known=False))),
    ("ValidatingAdmissionPolicyBinding vanadium-pod-certificates", "FAIL",
     lambda f: f.bindings.update({"vanadium-pod-certificates": None})),
    ("cluster agent: answers", "FAIL", lambda f: setattr(f, "agent", None)),
    ("cluster agent: is claimed", "FAIL", lambda f: f.agent["health"].update(root="unclaimed")),  # type: ignore[index]
    ("cluster agent: attests by the API server", "warn",
     lambda f: f.agent["health"].update(attestor="jwks")),  # type: ignore[index]
    ("cluster agent: its root lasts", "FAIL",
     lambda f: f.agent["roots"][0].update(notAfter=NOW.isoformat())),  # type: ignore[index]
    ("cluster agent: replicas have what was published", "warn",
     lambda f: f.agent["publications"]["crl"].update(share=0.5)),  # type: ignore[index]
    ("cluster agent: registered names are still allowed", "warn",
     lambda f: f.agent["applications"][0].update(objection="taken")),  # type: ignore[index]
    ("cluster agent: grants last", "FAIL",
     lambda f: f.agent["applications"][0].update(grantedUntil=NOW.isoformat())),  # type: ignore[index]
]  # fmt: skip


def verdicts(facts: Facts) -> dict[str, Result]:
    return {one.name: one for one in results(EVERY, facts)}


def test_there_are_many_checks_with_names_of_their_own_and_all_are_right_where_nothing_is_wrong() -> None:
    found = verdicts(well())
    assert len(found) == len(EVERY) >= 50
    assert {name: one.what for name, one in found.items() if one.verdict is not Verdict.OK} == {}


@pytest.mark.parametrize(
    ("name", "verdict", "spoil"), WRONG, ids=lambda one: one if isinstance(one, str) else ""
)
def test_what_is_wrong_is_found_with_what_to_do(
    name: str, verdict: str, spoil: Callable[[Facts], object]
) -> None:
    facts = well()
    spoil(facts)
    found = verdicts(facts)[name]
    assert found.verdict.value == verdict
    assert found.what
    assert found.todo


def test_each_policy_of_an_installation_is_looked_for() -> None:
    """Without vanadium-pod-certificates nothing is signed for kubelets, and no check told of it."""
    manifests = [(one["kind"], one["metadata"]["name"]) for one in rendered(Configuration())]
    for kind, looked_for in (("Policy", POLICIES), ("PolicyBinding", BINDINGS)):
        assert sorted(looked_for) == sorted(n for k, n in manifests if k == f"ValidatingAdmission{kind}")


def test_a_right_to_install_is_needed_where_nothing_is_installed() -> None:
    facts = well()
    facts.system_namespace = None
    facts.rights["", "secrets"] = False
    assert verdicts(facts)["right to create secrets"].verdict is Verdict.FAIL


def test_what_may_not_be_read_is_told_in_a_short_line() -> None:
    """Each refusal has 150 characters; a table with all of them in one cell was 3000 wide."""
    facts, of_namespaces = well(), [f"secrets of namespace team-{number}" for number in range(40)]
    facts.unreadable = ["nodes", "namespaces", "secrets of namespace vanadium-system", *of_namespaces]
    found = verdicts(facts)["what is checked can be read"]
    assert found.what == "cannot read namespaces, nodes, secrets of 41 namespaces"
    text = shown(results(EVERY, facts), every=False)
    assert max(map(len, text.splitlines())) < 200


def test_each_problem_of_a_check_has_a_line_of_its_own() -> None:
    facts = well()
    for name in ("a", "b"):
        facts.nodes.append({**facts.nodes[0], "metadata": {"name": name}, "status": {}})
    lines = [line for line in shown(results(EVERY, facts), every=False).splitlines() if "not ready" in line]
    assert [" ".join(line.split()[:9]) for line in lines] == [
        "warn nodes are ready node a is not ready",
        "warn nodes are ready node b is not ready",
    ]


def test_the_results_to_the_letter() -> None:
    made = [
        Result("version of Kubernetes", Verdict.OK),
        Result(
            "webhook: fails open",
            Verdict.FAIL,
            (Found("its failurePolicy is not Ignore", "set it to Ignore"),),
        ),
        Result("nodes", Verdict.WARN, (Found("there is no node", "add a node", Verdict.WARN),)),
    ]
    assert shown(made, every=False) == (
        "RESULT   CHECK                 FOUND                             WHAT TO DO\n"
        "FAIL     webhook: fails open   its failurePolicy is not Ignore   set it to Ignore\n"
        "warn     nodes                 there is no node                  add a node\n"
        "\n"
        "3 checks: 1 ok, 1 warn, 1 FAIL\n"
    )
    assert shown(made[:1], every=False) == "1 checks: 1 ok\n"
    assert "ok       version of Kubernetes   <none>" in shown(made[:1], every=True)
