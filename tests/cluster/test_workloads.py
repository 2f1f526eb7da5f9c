"""What users deploy, on a real node: each kind of workload gets its identity, and works as it did without."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from tests.checkout import CHECKOUT
from tests.cluster.cluster import Cluster
from tests.cluster.installation import (
    POD_AGENT,
    agent_container,
    container_status,
    execute,
    name_of,
    wait_until_injecting,
)
from tests.cluster.workloads import (
    PRINT_ID,
    RESTRICTED,
    STAY,
    ask_agent,
    container,
    deployment,
    job,
    job_spec,
    make_namespace,
    namespace,
    pod,
    pod_template,
    spiffe_id,
)
from tests.kubectl import Kubectl
from tests.waiting import CLUSTER_PATIENCE_SECONDS, wait_for

MANIFESTS = list(yaml.safe_load_all((CHECKOUT / "examples/fortune/deployment.yaml").read_text()))
PLACE = "workloads"
PATIENT = f"--timeout={CLUSTER_PATIENCE_SECONDS}s"
# The sidecar's image has no shell and no PATH worth the name.
PYTHON = "/opt/vanadium/bin/python"
LOOK_FOR_API_TOKEN = (
    "python", "-c",
    "import pathlib; print(pathlib.Path('/var/run/secrets/kubernetes.io/serviceaccount/token').exists())",
)  # fmt: skip


@pytest.fixture(scope="module")
def kubectl(installed: Cluster) -> Iterator[Kubectl]:
    kubectl = installed.kubectl
    make_namespace(kubectl, PLACE)
    wait_until_injecting(kubectl, PLACE)
    yield kubectl
    kubectl("delete", "namespace", PLACE, "--wait=false")


@pytest.fixture(scope="module")
def shop(installed: Cluster) -> Iterator[list[dict[str, Any]]]:
    """The sample application as its manifest says, in a namespace under Pod Security `restricted`."""
    installed.kubectl.apply(*MANIFESTS)
    restricted = "pod-security.kubernetes.io/enforce=restricted"
    installed.kubectl("label", "namespace", "shop", restricted, "--overwrite")
    yield installed.kubectl.ready_pods("shop", 3)
    installed.kubectl("delete", "namespace", "shop", "--wait=false")


def finished_pod(kubectl: Kubectl, job_name: str) -> dict[str, Any]:
    """The Pod of a Job that has completed."""

    def completed() -> bool:
        status = kubectl.get("job", job_name, "-n", PLACE)["status"]
        return any(
            one["type"] == "Complete" and one["status"] == "True" for one in status.get("conditions", [])
        )

    wait_for(f"Job {job_name}", completed, CLUSTER_PATIENCE_SECONDS, lambda: kubectl.story(PLACE))
    (found,) = kubectl.get("pods", "-n", PLACE, "-l", f"job-name={job_name}")["items"]
    result: dict[str, Any] = found
    return result


def log_of(kubectl: Kubectl, pod_name: str, container_name: str) -> str:
    return kubectl("logs", "-n", PLACE, pod_name, "-c", container_name).stdout.strip()


def ready(kubectl: Kubectl, name: str) -> dict[str, Any]:
    """The Pod of that name, once it is ready."""
    kubectl("wait", "--for=condition=Ready", f"pod/{name}", "-n", PLACE, PATIENT)
    found: dict[str, Any] = kubectl.get("pod", name, "-n", PLACE)
    return found


def id_in(kubectl: Kubectl, pod_name: str, container_name: str = "app") -> str:
    code, printed = execute(kubectl, PLACE, pod_name, container_name, *PRINT_ID)
    assert code == 0, printed
    return printed.strip()


def chain_in(kubectl: Kubectl, pod_name: str) -> dict[str, Any]:
    """What the agent protocol gives to the Pod's application."""
    code, printed = execute(kubectl, PLACE, pod_name, "app", *ask_agent("/v1/chain"))
    assert code == 0, printed
    answer: dict[str, Any] = json.loads(printed)
    return answer


def test_three_replicas_have_three_names_and_call_each_other_over_mtls(
    installed: Cluster, shop: list[dict[str, Any]]
) -> None:
    assert len({name_of(one) for one in shop}) == 3
    caller = name_of(shop[0])
    for server in shop[1:]:
        address = f"{server['status']['podIP']}:2345"
        code, seen = execute(
            installed.kubectl,
            "shop",
            caller,
            "fortune",
            "python",
            "-m",
            "fortune",
            "identify",
            "--connect",
            address,
        )
        assert code == 0, seen
        assert f"VALID:     [acme:prod:shop:fortune:{name_of(server)}]" in seen


def test_a_caller_finds_the_replicas_by_their_service(installed: Cluster, shop: list[dict[str, Any]]) -> None:
    service = "fortune.shop.svc.cluster.local:2345"
    call = ("python", "-m", "fortune", "get", "--connect", service, "--expect", "acme:prod:shop:fortune")
    code, answer = execute(installed.kubectl, "shop", name_of(shop[0]), "fortune", *call)
    assert code == 0, answer
    assert re.match(r"acme:prod:shop:fortune:fortune-\S+: ", answer)


def test_the_sidecar_runs_as_nobody_with_a_read_only_root_and_no_api_token(
    installed: Cluster, shop: list[dict[str, Any]]
) -> None:
    pod_name = name_of(shop[0])
    identity = "import os; print(os.getuid(), os.access('/', os.W_OK), os.access('/tmp', os.W_OK))"
    code, printed = execute(installed.kubectl, "shop", pod_name, POD_AGENT, PYTHON, "-c", identity)
    assert (code, printed.strip()) == (0, "58193 False False")
    code, printed = execute(installed.kubectl, "shop", pod_name, POD_AGENT, PYTHON, *LOOK_FOR_API_TOKEN[1:])
    assert (code, printed.strip()) == (0, "False")


def test_a_job_has_an_identity_from_its_init_container_on_and_finishes(kubectl: Kubectl) -> None:
    spec = {
        "initContainers": [container(*PRINT_ID, name="before")],
        "containers": [container(*PRINT_ID)],
    }
    kubectl.apply(job(PLACE, "once", spec))
    pod_name = name_of(finished_pod(kubectl, "once"))
    expected = spiffe_id(PLACE, pod_name)
    assert log_of(kubectl, pod_name, "before") == expected
    assert log_of(kubectl, pod_name, "app") == expected


def test_the_jobs_of_a_cron_job_finish(kubectl: Kubectl) -> None:
    kubectl.apply(
        {
            "apiVersion": "batch/v1",
            "kind": "CronJob",
            "metadata": {"name": "often", "namespace": PLACE},
            "spec": {
                "schedule": "0 0 1 1 *",  # the controller's clock is not ours to test
                "jobTemplate": {"spec": job_spec("often", {"containers": [container(*PRINT_ID)]})},
            },
        }
    )
    kubectl("create", "job", "often-now", "--from=cronjob/often", "-n", PLACE)
    pod_name = name_of(finished_pod(kubectl, "often-now"))
    assert log_of(kubectl, pod_name, "app") == spiffe_id(PLACE, pod_name)
    kubectl("delete", "cronjob", "often", "-n", PLACE)


def test_the_pods_of_a_stateful_set_keep_their_names_with_new_keys(kubectl: Kubectl) -> None:
    kubectl.apply(
        {
            "apiVersion": "apps/v1",
            "kind": "StatefulSet",
            "metadata": {"name": "db", "namespace": PLACE},
            "spec": {
                "replicas": 2,
                "serviceName": "db",
                "selector": {"matchLabels": {"app": "db"}},
                "template": pod_template("db", {}),
            },
        }
    )
    kubectl("rollout", "status", "statefulset/db", "-n", PLACE, PATIENT)
    for ordinal in (0, 1):
        assert id_in(kubectl, f"db-{ordinal}") == spiffe_id(PLACE, f"db-{ordinal}")
    before = chain_in(kubectl, "db-0")
    uid = kubectl.get("pod", "db-0", "-n", PLACE)["metadata"]["uid"]
    kubectl("delete", "pod", "db-0", "-n", PLACE)
    wait_for("another db-0", lambda: _other_uid(kubectl, "db-0", uid))
    ready(kubectl, "db-0")
    assert id_in(kubectl, "db-0") == spiffe_id(PLACE, "db-0")
    assert chain_in(kubectl, "db-0")["publicKey"] != before["publicKey"]


def test_a_pod_with_a_read_only_root_and_no_api_token_has_an_identity(kubectl: Kubectl) -> None:
    kubectl.apply(pod(PLACE, "no-token", {"automountServiceAccountToken": False}))
    ready(kubectl, "no-token")
    assert id_in(kubectl, "no-token") == spiffe_id(PLACE, "no-token")
    assert execute(kubectl, PLACE, "no-token", "app", *LOOK_FOR_API_TOKEN)[1].strip() == "False"


def test_a_pod_on_the_nodes_network_has_an_identity_when_it_asks_for_one(installed: Cluster) -> None:
    kubectl = installed.kubectl
    privileged = namespace("on-the-node")
    privileged["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] = "privileged"
    kubectl.apply(privileged)
    wait_for("service account", lambda: kubectl.exists("serviceaccount", "default", "-n", "on-the-node"))
    try:
        # Without it, neither the application nor the pod agent would resolve a Service's name.
        spec = {"hostNetwork": True, "dnsPolicy": "ClusterFirstWithHostNet"}
        kubectl.apply(
            pod("on-the-node", "unasked", spec),
            pod("on-the-node", "asked", spec, **{"vanadium.io/inject": "enabled"}),
        )
        pods = {name_of(one): one for one in kubectl.ready_pods("on-the-node", 2)}
        assert "initContainers" not in pods["unasked"]["spec"]
        assert agent_container(pods["asked"])["ready"]
        assert execute(kubectl, "on-the-node", "asked", "app", *PRINT_ID) == (
            0, spiffe_id("on-the-node", "asked") + "\n",
        )  # fmt: skip
    finally:
        kubectl("delete", "namespace", "on-the-node", "--wait=false")


def test_a_pod_of_two_containers_lets_only_the_named_one_see_the_sockets(kubectl: Kubectl) -> None:
    one = pod(
        PLACE, "two", {"containers": [container(*STAY, name="inside"), container(*STAY, name="outside")]}
    )
    one["metadata"]["annotations"] = {"vanadium.io/containers": "inside"}
    kubectl.apply(one)
    ready(kubectl, "two")
    assert id_in(kubectl, "two", "inside") == spiffe_id(PLACE, "two")
    code, printed = execute(kubectl, PLACE, "two", "outside", "python", "-c", "import os; print(os.environ)")
    assert code == 0
    assert "V23_AGENT_PATH" not in printed
    looking = "import os; print(os.path.exists('/run/vanadium'))"
    assert execute(kubectl, PLACE, "two", "outside", "python", "-c", looking) == (0, "False\n")


# As a mesh's proxy that captures DNS: no name resolves before it is ready.
PROXY = """
import socket, sys, time
time.sleep(5)
served = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
served.bind(("127.0.0.1", 53))
while True:
    question, client = served.recvfrom(4096)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        asked.settimeout(2)
        asked.sendto(question, (sys.argv[1], 53))
        try:
            served.sendto(asked.recv(4096), client)
        except TimeoutError:
            pass
"""


def test_a_pod_whose_network_a_meshs_proxy_provides_has_an_identity(kubectl: Kubectl) -> None:
    kubectl.apply(pod(PLACE, "asks-dns", {}))
    ready(kubectl, "asks-dns")
    read = "print(*[line.split()[1] for line in open('/etc/resolv.conf') if line.startswith('nameserver')])"
    code, printed = execute(kubectl, PLACE, "asks-dns", "app", "python", "-c", read)
    assert code == 0, printed
    proxy = {
        **container("python", "-c", PROXY, printed.split()[0], name="istio-proxy"),
        "restartPolicy": "Always",
    }
    spec = {
        "initContainers": [proxy, container("python", "-c", "pass", name="migrate")],
        "dnsPolicy": "None",
        "dnsConfig": {
            "nameservers": ["127.0.0.1"],
            "searches": [f"{PLACE}.svc.cluster.local", "svc.cluster.local", "cluster.local"],
            "options": [{"name": "ndots", "value": "5"}],
        },
        "securityContext": {"sysctls": [{"name": "net.ipv4.ip_unprivileged_port_start", "value": "0"}]},
    }
    kubectl.apply(pod(PLACE, "in-a-mesh", spec))
    found = ready(kubectl, "in-a-mesh")
    assert [one["name"] for one in found["spec"]["initContainers"]] == ["istio-proxy", POD_AGENT, "migrate"]
    assert id_in(kubectl, "in-a-mesh") == spiffe_id(PLACE, "in-a-mesh")


READ_FILES = """
import os, ssl
place = "/run/vanadium-files"
ssl.create_default_context(cafile=f"{place}/ca.crt").load_cert_chain(f"{place}/tls.pem")
mounted = [line.split() for line in open("/proc/mounts")]
print([one[2] for one in mounted if one[1] == place], os.access(place, os.W_OK))
"""


def test_a_pod_reads_its_identity_from_files_by_its_group_and_no_other_container_does(
    kubectl: Kubectl,
) -> None:
    group = {**RESTRICTED, "runAsUser": 10001, "runAsGroup": 10002}
    one = pod(
        PLACE,
        "files",
        {
            "containers": [
                {**container(*STAY, name="reader"), "securityContext": group},
                container(*STAY, name="other"),
            ]
        },
    )
    one["metadata"]["annotations"] = {"vanadium.io/files": "reader", "vanadium.io/files-group": "10002"}
    kubectl.apply(one)
    ready(kubectl, "files")
    reading = execute(kubectl, PLACE, "files", "reader", "python", "-c", READ_FILES)
    assert reading == (0, "['tmpfs'] False\n")
    looking = "import os; print(os.path.exists('/run/vanadium-files'))"
    assert execute(kubectl, PLACE, "files", "other", "python", "-c", looking) == (0, "False\n")


def test_a_deployment_scales_up_and_down(kubectl: Kubectl) -> None:
    kubectl.apply(deployment(PLACE, "many", 2))
    kubectl("rollout", "status", "deployment/many", "-n", PLACE, PATIENT)
    kubectl("scale", "deployment/many", "--replicas=5", "-n", PLACE)
    kubectl("rollout", "status", "deployment/many", "-n", PLACE, PATIENT)
    pods = kubectl.get("pods", "-n", PLACE, "-l", "app=many")["items"]
    assert {id_in(kubectl, name_of(one)) for one in pods} == {spiffe_id(PLACE, name_of(one)) for one in pods}
    assert all(container_status(one, "app")["restartCount"] == 0 for one in pods)
    kubectl("delete", "deployment", "many", "-n", PLACE)


def _other_uid(kubectl: Kubectl, name: str, uid: str) -> bool:
    found = kubectl("get", "pod", name, "-n", PLACE, "-o", "json", "--ignore-not-found").stdout
    return bool(found) and json.loads(found)["metadata"]["uid"] != uid
