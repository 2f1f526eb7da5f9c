"""What an injected Pod looks like."""

from __future__ import annotations

import copy
import dataclasses
import json
import subprocess
import sys
from typing import Any

import pytest

from tests.pods import container, pod
from tests.webhook.applying import CONFIGURATION, apply, injected, named
from webhook.errors import RefusalError
from webhook.injection import inject
from webhook.layout import CONTAINER
from webhook.reasons import AdmissionReason
from webhook.volume_support import Kubelet, support

JSONObject = dict[str, Any]
API_TOKEN_DIRECTORY = "/var/run/secrets/kubernetes.io/serviceaccount"
OLDER_CLUSTER = dataclasses.replace(CONFIGURATION, native_sidecar=False)


def service_account_admission(subject: JSONObject) -> JSONObject:
    """What Kubernetes' ServiceAccount plugin does, again after the webhooks: mounts the API token."""
    after = copy.deepcopy(subject)
    token = {"name": "kube-api-access-x", "mountPath": API_TOKEN_DIRECTORY, "readOnly": True}
    for each in [*after["spec"].get("initContainers", []), *after["spec"]["containers"]]:
        mounts = each.setdefault("volumeMounts", [])
        if all(mount["mountPath"] != API_TOKEN_DIRECTORY for mount in mounts):
            mounts.append(token)
    return after


def test_the_agent_is_the_first_init_container_and_keeps_running() -> None:
    result = injected(pod(init=[container("migrate")]))
    assert [each["name"] for each in result["spec"]["initContainers"]] == [CONTAINER, "migrate"]
    agent = result["spec"]["initContainers"][0]
    assert agent["restartPolicy"] == "Always"


def test_the_agent_is_probed_by_its_own_program_and_opens_no_port() -> None:
    agent = injected(pod())["spec"]["initContainers"][0]
    assert agent["startupProbe"]["exec"]["command"] == ["pod-agent-probe"]
    assert not {"livenessProbe", "readinessProbe", "ports"} & set(agent)


def test_with_a_startup_wait_a_hook_holds_the_other_containers_for_that_time() -> None:
    agent = injected(pod(annotations={"vanadium.io/startup-wait": "3s"}))["spec"]["initContainers"][0]
    assert agent["lifecycle"] == {"postStart": {"exec": {"command": ["pod-agent-probe", "--at-most=3"]}}}
    assert "startupProbe" not in agent


def test_with_a_startup_wait_of_zero_nothing_holds_the_other_containers() -> None:
    agent = injected(pod(annotations={"vanadium.io/startup-wait": "0"}))["spec"]["initContainers"][0]
    assert not {"lifecycle", "startupProbe"} & set(agent)


def test_a_startup_wait_has_no_effect_without_native_sidecars_and_the_author_is_told() -> None:
    injection = inject(waiting := pod(annotations={"vanadium.io/startup-wait": "3s"}), OLDER_CLUSTER)
    assert any("vanadium.io/startup-wait has no effect" in warning for warning in injection.warnings)
    agent = injected(waiting, OLDER_CLUSTER)["spec"]["containers"][-1]
    assert "startupProbe" in agent
    assert "lifecycle" not in agent


def test_metrics_on_a_port_of_the_pod_are_for_those_who_ask() -> None:
    agent = injected(pod(annotations={"vanadium.io/metrics-port": "9090"}))["spec"]["initContainers"][0]
    assert agent["ports"] == [{"name": "vanadium-health", "containerPort": 9090, "protocol": "TCP"}]
    assert named(agent["env"], "VANADIUM_POD_AGENT_HEALTH_PORT")["value"] == "9090"
    host = named(agent["env"], "VANADIUM_POD_AGENT_HEALTH_HOST")
    assert host["valueFrom"]["fieldRef"]["fieldPath"] == "status.podIP"


def test_missing_arrays_are_created() -> None:
    operations = inject(pod(), CONFIGURATION).operations
    assert [operation["path"] for operation in operations] == [
        "/spec/volumes",
        "/spec/containers/0/volumeMounts",
        "/spec/containers/0/env",
        "/spec/initContainers",
    ]


def test_existing_arrays_are_added_to_by_element() -> None:
    subject = pod(
        container(env=[{"name": "A", "value": "1"}], volumeMounts=[{"name": "v", "mountPath": "/v"}]),
        init=[container("migrate", env=[])],
        volumes=[{"name": "v", "emptyDir": {}}],
    )
    paths = [operation["path"] for operation in inject(subject, CONFIGURATION).operations]
    assert paths == [
        *["/spec/volumes/-"] * 4,
        "/spec/initContainers/0/volumeMounts",
        *["/spec/initContainers/0/env/0"] * 2,
        "/spec/containers/0/volumeMounts/-",
        *["/spec/containers/0/env/0"] * 2,
        "/spec/initContainers/0",
    ]


def test_every_container_gets_the_socket_read_only_and_the_variables() -> None:
    result = injected(pod(container("web"), container("helper"), init=[container("migrate")]))
    others = [*result["spec"]["containers"], *result["spec"]["initContainers"][1:]]
    assert [each["name"] for each in others] == ["web", "helper", "migrate"]
    for each in others:
        assert each["volumeMounts"] == [
            {"name": "vanadium-socket", "mountPath": "/run/vanadium", "readOnly": True}
        ]
        assert each["env"] == [
            {"name": "V23_AGENT_PATH", "value": "/run/vanadium/agent.sock"},
            {"name": "SPIFFE_ENDPOINT_SOCKET", "value": "unix:///run/vanadium/workload.sock"},
        ]


def test_the_containers_annotation_chooses_who_gets_the_socket() -> None:
    subject = pod(
        container("web"),
        container("helper"),
        init=[container("m")],
        annotations={"vanadium.io/containers": "m, web"},
    )
    result = injected(subject)
    assert "env" in named(result["spec"]["containers"], "web")
    assert "env" in named(result["spec"]["initContainers"], "m")
    assert named(result["spec"]["containers"], "helper") == container("helper")


def test_a_chosen_container_that_is_not_there_yet_is_a_warning_because_a_webhook_may_add_it() -> None:
    subject = pod(annotations={"vanadium.io/containers": "web,proxy"})
    injection = inject(subject, CONFIGURATION)
    assert injection.reason is AdmissionReason.INJECTED
    assert injection.warnings == ("annotation vanadium.io/containers names no container of the Pod: proxy",)


def test_only_the_pods_own_service_account_s_credential_is_mounted() -> None:
    volumes = injected(pod(serviceAccountName="shopkeeper"))["spec"]["volumes"]
    assert named(volumes, "vanadium-bootstrap")["secret"] == {
        "secretName": "vanadium-bootstrap",
        "items": [
            {"key": "shopkeeper", "path": "credential.json"},
            {"key": "_roots.pem", "path": "roots.pem"},
        ],
    }


@pytest.mark.parametrize(
    ("spec", "key"),
    [
        ({}, "default"),
        ({"serviceAccount": "old"}, "old"),
        ({"serviceAccountName": "n", "serviceAccount": "o"}, "n"),
    ],
)
def test_the_service_account_is_the_one_that_kubernetes_would_use(spec: JSONObject, key: str) -> None:
    volumes = injected(pod(**spec))["spec"]["volumes"]
    assert named(volumes, "vanadium-bootstrap")["secret"]["items"][0]["key"] == key


def test_the_token_is_for_the_cluster_agent_alone_and_the_socket_lives_in_memory() -> None:
    volumes = injected(pod())["spec"]["volumes"]
    (source,) = named(volumes, "vanadium-token")["projected"]["sources"]
    assert source["serviceAccountToken"] == {
        "audience": "vanadium-cluster-agent",
        "expirationSeconds": 3600,
        "path": "token",
    }
    assert named(volumes, "vanadium-socket")["emptyDir"]["medium"] == "Memory"


def test_only_the_agent_mounts_the_credential_and_the_token() -> None:
    result = injected(pod(container("web"), init=[container("migrate")]))
    agent = result["spec"]["initContainers"][0]
    assert {m["name"]: (m["mountPath"], m.get("readOnly", False)) for m in agent["volumeMounts"]} == {
        "vanadium-socket": ("/run/vanadium", False),
        "vanadium-bootstrap": ("/var/run/secrets/vanadium.io/bootstrap", True),
        "vanadium-token": ("/var/run/secrets/vanadium.io/token", True),
        "vanadium-no-api-access": (API_TOKEN_DIRECTORY, True),
    }
    others = [*result["spec"]["containers"], *result["spec"]["initContainers"][1:]]
    assert {m["name"] for each in others for m in each["volumeMounts"]} == {"vanadium-socket"}


def test_the_agent_never_gets_the_api_token_and_the_application_keeps_its_own() -> None:
    result = service_account_admission(injected(service_account_admission(pod())))
    agent = result["spec"]["initContainers"][0]
    assert "kube-api-access-x" not in {mount["name"] for mount in agent["volumeMounts"]}
    assert "kube-api-access-x" in {m["name"] for m in result["spec"]["containers"][0]["volumeMounts"]}


def test_the_agent_is_told_its_settings() -> None:
    agent = injected(pod())["spec"]["initContainers"][0]
    assert {each["name"]: each["value"] for each in agent["env"]} == {
        "VANADIUM_POD_AGENT_CLUSTER_AGENT_URL": "https://cluster-agent.vanadium-system.svc:8193",
        "VANADIUM_POD_AGENT_CLUSTER_AGENT_SERVER_NAME": "cluster-agent.vanadium-system.svc",
        "VANADIUM_POD_AGENT_CREDENTIAL_FILE": "/var/run/secrets/vanadium.io/bootstrap/credential.json",
        "VANADIUM_POD_AGENT_TOKEN_FILE": "/var/run/secrets/vanadium.io/token/token",
        "VANADIUM_POD_AGENT_SOCKET_DIRECTORY": "/run/vanadium",
        "VANADIUM_POD_AGENT_LOG_LEVEL": "info",
    }


def test_annotations_tune_the_agent() -> None:
    subject = pod(
        annotations={
            "vanadium.io/image": "localhost:5000/agent@sha256:abc",
            "vanadium.io/log-level": "debug",
            "vanadium.io/ttl": "1h30m",
            "vanadium.io/cpu-request": "20m",
            "vanadium.io/memory-limit": "24Mi",
        }
    )
    agent = injected(subject)["spec"]["initContainers"][0]
    assert agent["image"] == "localhost:5000/agent@sha256:abc"
    assert named(agent["env"], "VANADIUM_POD_AGENT_LOG_LEVEL")["value"] == "debug"
    assert named(agent["env"], "VANADIUM_POD_AGENT_TTL_SECONDS")["value"] == "5400"
    assert agent["resources"]["requests"] == {"cpu": "20m", "memory": "24Mi"}
    assert agent["resources"]["limits"] == {"cpu": "1", "memory": "24Mi"}


def test_without_native_sidecars_the_agent_is_the_last_container() -> None:
    result = injected(pod(container("web")), OLDER_CLUSTER)
    assert [each["name"] for each in result["spec"]["containers"]] == ["web", CONTAINER]
    assert "initContainers" not in result["spec"]
    assert "restartPolicy" not in result["spec"]["containers"][1]
    assert inject(result, OLDER_CLUSTER).operations == []
    assert inject(result, CONFIGURATION).operations == []


def test_without_native_sidecars_a_pod_that_cannot_complete_is_a_warning() -> None:
    injection = inject(pod(restartPolicy="Never", init=[container("m")]), OLDER_CLUSTER)
    assert injection.warnings == (
        "init containers run before there is an identity: no native sidecars, switched off",
        "the pod agent keeps this Pod from completing: no native sidecars, switched off",
    )


# Which kubelets run native sidecars: https://kubernetes.io/docs/concepts/workloads/pods/sidecar-containers/
@pytest.mark.parametrize(
    ("versions", "is_native"),
    [
        ([], True),
        (["v1.37.2"], True),
        (["", "unknown"], True),
        (["v1.30.0", "v1.29.0-gke.1"], True),
        (["v1.30.0", "v1.28.9"], False),
        (["v1.28.9+k3s1"], False),
        (["v1.27.16-eks-1"], False),
    ],
)
@pytest.mark.parametrize("stated", [None, True, False])
def test_native_sidecars_are_used_where_each_kubelet_runs_them_or_as_the_administrator_states(
    versions: list[str], is_native: bool, stated: bool | None
) -> None:
    found = support([], [Kubelet("node", one) for one in versions], [])
    configuration = dataclasses.replace(CONFIGURATION, native_sidecar=stated)
    injection = inject(pod(init=[container("m")]), configuration, found)
    place = "initContainers" if (is_native if stated is None else stated) else "containers"
    assert CONTAINER in [one["name"] for one in apply(pod(init=[container("m")]), injection)["spec"][place]]
    assert any("kubelet older than 1.29" in one for one in injection.warnings) == (
        stated is not True and not is_native
    )


def test_unknown_and_future_fields_survive() -> None:
    subject = pod(
        container(resizePolicy=[{"x": None}], fromTheFuture={"a~b": [1, {"c/d": None}]}), hats=["red"]
    )
    result = injected(subject)
    assert result["spec"]["hats"] == ["red"]
    assert result["spec"]["containers"][0]["fromTheFuture"] == {"a~b": [1, {"c/d": None}]}
    assert result["spec"]["containers"][0]["resizePolicy"] == [{"x": None}]


def test_names_are_no_longer_than_kubernetes_allows() -> None:
    result = injected(pod(annotations={"vanadium.io/metrics-port": "8194"}))
    agent = result["spec"]["initContainers"][0]
    for name in [agent["name"], *[volume["name"] for volume in result["spec"]["volumes"]]]:
        assert len(name) <= 63
    assert all(len(port["name"]) <= 15 for port in agent["ports"])


def test_labels_and_annotations_stay_as_they_are() -> None:
    # A controller that owns the Pod would put its labels back, or count the Pod as somebody else's.
    subject = pod(labels={"app": "web"}, annotations={"a/b": "c"})
    assert not [op for op in inject(subject, CONFIGURATION).operations if op["path"].startswith("/metadata")]


def test_deciding_and_patching_load_nothing_that_could_reach_a_network() -> None:
    program = (
        "import json, sys, webhook.admission;"
        "print(json.dumps([m for m in ('socket','asyncio','httpx','kubernetes','ssl') if m in sys.modules]))"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, check=True, text=True
    ).stdout
    assert json.loads(loaded) == []


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"hostNetwork": True}, ["ClusterFirstWithHostNet"]),
        ({"hostNetwork": True, "dnsPolicy": "ClusterFirst"}, ["ClusterFirstWithHostNet"]),
        ({"hostNetwork": True, "dnsPolicy": "ClusterFirstWithHostNet"}, []),
        ({"dnsPolicy": "Default"}, ["ClusterFirst"]),
        ({"dnsPolicy": "None"}, []),
        ({"dnsPolicy": "ClusterFirst"}, []),
        ({}, []),
    ],
)
def test_a_pod_that_could_not_find_the_cluster_agent_is_warned_of(
    spec: JSONObject, expected: list[str]
) -> None:
    subject = pod()
    subject["spec"].update(spec)
    warnings = inject(subject, CONFIGURATION).warnings
    assert [one.rpartition(": ")[2] for one in warnings if "cluster agent" in one] == expected


def test_a_mistyped_label_is_a_warning_and_an_annotation_as_a_label_too() -> None:
    labels = {"vanadium.io/injct": "disabled", "vanadium.io/ttl": "1h", "app": "web"}
    for one in (
        inject(pod(labels=labels), CONFIGURATION),
        inject(injected(pod(labels=labels)), CONFIGURATION),
    ):
        assert one.warnings == (
            "label vanadium.io/injct has no effect on a Pod; did you mean vanadium.io/inject?",
            "vanadium.io/ttl was written as a label and has no effect: make it an annotation",
        )
    assert inject(pod(labels={"vanadium.io/inject": "enabled"}), CONFIGURATION).warnings == ()
    (other,) = inject(pod(labels={"vanadium.io/enforce": "deny"}), CONFIGURATION).warnings
    assert other == "label vanadium.io/enforce has no effect on a Pod"


def test_warnings_of_names_come_last_and_leave_room_for_those_about_security() -> None:
    """API servers pass on 4096 characters of warnings."""
    names = {f"vanadium.io/{letter * 300}": "" for letter in "abcdefghijklmnopqrst"}
    wishes = {"vanadium.io/containers": "other", "vanadium.io/files-mode": "0444"}
    subject = pod(container(securityContext={"runAsUser": 0}), labels=names, annotations={**names, **wishes})
    subject["spec"] |= {"shareProcessNamespace": True, "restartPolicy": "Never", "dnsPolicy": "Default"}
    warnings = inject(subject, OLDER_CLUSTER).warnings
    assert "can read the identity's key" in warnings[0]
    assert all("is not one that the injection knows" in one for one in warnings[-16:-8])
    assert all("has no effect on a Pod" in one for one in warnings[-8:])
    assert len(warnings) == 5 + 16
    assert sum(len(one[:256]) for one in warnings) <= 4096


def test_the_pods_own_resources_grow_by_the_agents_so_that_the_api_server_accepts_the_sum() -> None:
    """https://kubernetes.io/docs/tasks/configure-pod-container/assign-pod-level-resources/"""
    subject = pod(
        resources={
            "requests": {"cpu": "1", "memory": "100Mi", "hugepages-2Mi": "10Mi"},
            "limits": {"memory": "200Mi"},
        }
    )
    assert injected(subject)["spec"]["resources"] == {
        "requests": {"cpu": "1010m", "memory": str((100 + 32) * 1024**2), "hugepages-2Mi": "10Mi"},
        "limits": {"memory": str((200 + 96) * 1024**2)},
    }


def test_a_guaranteed_pod_by_its_own_resources_stays_guaranteed() -> None:
    both = {"cpu": "250m", "memory": "64Mi"}
    spec = injected(pod(resources={"requests": both, "limits": both}))["spec"]
    resources = spec["resources"]
    assert resources["requests"] == resources["limits"] == {"cpu": "750m", "memory": str(160 * 1024**2)}
    # The API server refuses a container that may use more than its Pod.
    assert spec["initContainers"][0]["resources"]["limits"] == {"cpu": "500m", "memory": "96Mi"}


def test_a_pods_own_resources_grow_once_and_only_where_they_are_stated() -> None:
    subject = injected(pod(resources={"requests": {"cpu": "2"}}))
    assert subject["spec"]["resources"] == {"requests": {"cpu": "2010m"}}
    assert inject(subject, CONFIGURATION).operations == []
    for empty in ({}, {"requests": None}, None):
        assert injected(pod(resources=empty))["spec"]["resources"] == empty


def test_a_pod_that_requests_its_own_limits_by_default_still_does() -> None:
    """From Kubernetes 1.37 the API server writes that default after the webhooks, and would then take the pod
    agent's request for the Pod's."""
    spec = injected(pod(resources={"limits": {"cpu": "1", "memory": "200Mi"}}))["spec"]
    both = {"cpu": "1500m", "memory": str(296 * 1024**2)}
    assert spec["resources"] == {"requests": both, "limits": both}
    assert spec["initContainers"][0]["resources"]["requests"] == {"cpu": "500m", "memory": "96Mi"}
    partly = injected(pod(resources={"requests": {"cpu": "1"}, "limits": {"memory": "200Mi"}}))["spec"]
    assert partly["resources"]["requests"] == {"cpu": "1010m", "memory": both["memory"]}


def test_a_pod_whose_containers_request_something_requests_their_sum() -> None:
    asking = container(resources={"requests": {"cpu": "100m"}})
    spec = injected(pod(asking, resources={"limits": {"cpu": "1", "memory": "200Mi"}}))["spec"]
    assert spec["resources"]["requests"] == {"memory": spec["resources"]["limits"]["memory"]}
    assert spec["resources"]["limits"]["cpu"] == "2000m"
    # It was never Guaranteed: the pod agent reserves no CPU for it.
    assert spec["initContainers"][0]["resources"]["requests"]["cpu"] == "10m"


@pytest.mark.parametrize("resources", [3, {"requests": 3}, {"limits": {"cpu": "x"}}, {"limits": {"cpu": []}}])
def test_a_pods_own_resources_that_cannot_be_read_are_refused_with_their_field(resources: object) -> None:
    with pytest.raises(RefusalError, match=r"spec\.resources") as refusal:
        inject(pod(resources=resources), CONFIGURATION)
    assert refusal.value.reason is AdmissionReason.MALFORMED_POD
