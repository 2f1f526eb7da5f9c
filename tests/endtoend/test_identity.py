"""From `kubectl apply` to an application that uses its replica's blessing, on a real API server."""

from __future__ import annotations

import base64
import json
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from spiffe import X509Source

from blessings import Blessing, Principal
from blessings.tls import client_context
from certs.issue import Material
from service.beginning import STEPS
from tests.checkout import CHECKOUT
from tests.endtoend.calls import revoked_serials, seek
from tests.endtoend.installation import SYSTEM, TTL_SECONDS, Installation, flags, labelled_namespace
from tests.pods import pod
from tests.vkube.command import vkube
from tests.waiting import wait_for

MANIFESTS = list(yaml.safe_load_all((CHECKOUT / "examples/fortune/deployment.yaml").read_text()))


@pytest.fixture(scope="module")
def shop(installed: Installation) -> Iterator[list[dict[str, Any]]]:
    """The sample application as its manifest says: namespace shop, three ready Pods."""
    installed.apply(*MANIFESTS)
    yield installed.ready_pods("shop", 3)
    installed.kubectl("delete", "namespace", "shop", "--wait=false")


def name_of(pod: dict[str, Any]) -> str:
    name: str = pod["metadata"]["name"]
    return name


def reason(response: httpx.Response) -> str:
    answer: str = response.json().get("error", {}).get("reason", f"issued: {response.text}")
    return answer


def test_three_replicas_of_a_plain_deployment_have_three_names_and_call_each_other(
    installed: Installation, shop: list[dict[str, Any]]
) -> None:
    caller, *others = shop
    assert len({name_of(pod) for pod in shop}) == 3
    for server in others:
        address = f"{server['status']['podIP']}:2345"
        code, seen = installed.runner.execute(
            name_of(caller), "fortune", "python", "-m", "fortune", "identify", "--connect", address
        )
        assert code == 0, seen
        assert f"VALID:     [acme:prod:shop:fortune:{name_of(server)}]" in seen
        code, answer = installed.runner.execute(
            name_of(caller), "fortune", "python", "-m", "fortune", "get", "--connect", address
        )
        assert code == 0, answer
        assert answer.startswith(f"acme:prod:shop:fortune:{name_of(server)}: ")
        assert f"acme:prod:shop:fortune:{name_of(caller)} " in installed.runner.pod(name_of(server)).log_of(
            "fortune"
        )


def test_each_pod_has_one_event_with_the_times_of_its_first_identity(
    installed: Installation, shop: list[dict[str, Any]]
) -> None:
    def told() -> list[dict[str, Any]]:
        events = installed.get("events", "-n", "shop")["items"]
        return [one for one in events if one["reason"] == "FirstIdentity"]

    wait_for("an Event on each Pod", lambda: len(told()) >= len(shop))
    assert sorted(one["involvedObject"]["uid"] for one in told()) == sorted(
        pod["metadata"]["uid"] for pod in shop
    )
    for step in STEPS:
        assert f"{step} " in told()[0]["message"]
    shown = vkube(
        "events", name_of(shop[0]), "-n", "shop", "--kubeconfig", installed.control_plane.kubeconfig
    )
    assert "FirstIdentity: First identity" in shown


def test_everyone_may_read_the_interface_and_a_stranger_may_call_nothing(
    installed: Installation, shop: list[dict[str, Any]], tmp_path: Path
) -> None:
    address = f"{shop[0]['status']['podIP']}:2345"
    (tmp_path / "roots.pem").write_text(vkube("bundle", "export", *flags(installed)))
    table = vkube("signature", address, "--ca", tmp_path / "roots.pem").splitlines()
    assert [line.split()[1] for line in table[1:]] == ["/Add", "/Get", "/Has"]
    stranger = ssl.create_default_context()
    stranger.check_hostname, stranger.verify_mode = False, ssl.CERT_NONE
    for method in ("Add", "Get", "Has"):
        answer = httpx.post(f"https://{address}/{method}", verify=stranger, content=b'"a"')
        assert (answer.status_code, "who are you?" in answer.text) == (403, True)


def test_a_replica_of_another_application_is_not_served(
    installed: Installation, shop: list[dict[str, Any]]
) -> None:
    intruder = json.loads(json.dumps(MANIFESTS))
    namespace, account, deployment, _ = intruder
    namespace["metadata"]["name"] = "elsewhere"
    account["metadata"]["namespace"] = deployment["metadata"]["namespace"] = "elsewhere"
    deployment["spec"]["replicas"] = 1
    installed.apply(namespace, account, deployment)
    (pod,) = installed.ready_pods("elsewhere", 1)
    address = f"{shop[0]['status']['podIP']}:2345"
    pattern = ("--expect", "acme:prod:shop:fortune")
    code, said = installed.runner.execute(
        name_of(pod), "fortune", "python", "-m", "fortune", "get", "--connect", address, *pattern
    )
    installed.kubectl("delete", "namespace", "elsewhere", "--wait=false")
    assert code == 1
    assert f"acme:prod:elsewhere:fortune:{name_of(pod)} is not allowed here" in said
    assert "allowed are acme:prod:shop:fortune" in said


def test_an_unmodified_spiffe_client_in_a_pod_follows_a_rotation(
    installed: Installation, shop: list[dict[str, Any]]
) -> None:
    pod = name_of(shop[0])
    socket = installed.runner.pod(pod).path_in("fortune", "/run/vanadium/workload.sock")
    with X509Source(socket_path=f"unix://{socket}", timeout_in_seconds=60) as source:
        first = source.get_x509_context().default_svid
        assert str(first.spiffe_id) == f"spiffe://acme/prod/shop/fortune/{pod}"
        # A message may also bring nothing but new revocation lists, with the same certificate.
        serial = first.leaf.serial_number
        wait_for(
            "a rotation",
            lambda: source.get_x509_context().default_svid.leaf.serial_number != serial,
            TTL_SECONDS + 60,
        )
        again = source.get_x509_context().default_svid
    assert again.spiffe_id == first.spiffe_id
    assert again.leaf.serial_number != first.leaf.serial_number
    assert again.leaf.public_key() != first.leaf.public_key()


def test_a_pod_mounts_its_own_applications_credential_only(
    installed: Installation, shop: list[dict[str, Any]]
) -> None:
    (volume,) = [one for one in shop[0]["spec"]["volumes"] if one["name"] == "vanadium-bootstrap"]
    assert volume["secret"]["items"] == [
        {"key": "fortune", "path": "credential.json"},
        {"key": "_roots.pem", "path": "roots.pem"},
    ]
    stored = installed.get("secret", "vanadium-bootstrap", "-n", "shop")
    assert sorted(stored["data"]) == ["_roots.pem", "default", "fortune"]
    assert stored["type"] == "vanadium.io/bootstrap"


def test_attack_a_secret_copied_from_the_cluster_gets_nothing_and_is_reported(
    installed: Installation, shop: list[dict[str, Any]]
) -> None:
    stolen = installed.credential("shop", "fortune")
    assert reason(seek(installed, stolen, "")) == "TokenMissing"
    unbound = installed.kubectl(
        "create", "token", "fortune", "-n", "shop", "--audience=vanadium-cluster-agent"
    ).strip()
    assert reason(seek(installed, stolen, unbound)) == "TokenNotBoundToPod"
    pod = name_of(shop[0])
    api_token = installed.kubectl(
        "create", "token", "fortune", "-n", "shop", "--bound-object-kind=Pod", f"--bound-object-name={pod}"
    ).strip()
    assert reason(seek(installed, stolen, api_token)) == "TokenNotAuthenticated"

    def reported() -> bool:
        events = installed.get("events", "-n", "shop")["items"]
        return any(event["reason"] == "BootstrapCredentialMisused" for event in events)

    wait_for("an Event on the namespace", reported)
    metrics = httpx.get(f"{installed.cluster_agent_health_url}/metrics", follow_redirects=True).text
    assert 'vanadium_cluster_agent_tripwires_total{namespace="shop",reason="TokenMissing"}' in metrics


def test_attack_a_deleted_pods_token_and_certificate_renew_nothing(installed: Installation) -> None:
    """The certificate has long to live, and the Pod need not run."""
    name = {"namespace": "deleted", "serviceAccount": "default", "name": "acme:prod:Deleted"}
    with installed.control_plane_client("administrator") as administrator:
        answer = administrator.post("/v1/register-application", json={**name, "ttlSeconds": 3600})
        answer.raise_for_status()
    with labelled_namespace(installed, "deleted"):
        unscheduled = pod(name="gone", nodeSelector={"of": "nowhere"})
        installed.kubectl("create", "-n", "deleted", "-f", "-", stdin=json.dumps(unscheduled))
        token = installed.kubectl(
            "create", "token", "default", "-n", "deleted", "--audience=vanadium-cluster-agent",
            "--bound-object-kind=Pod", "--bound-object-name=gone",
        ).strip()  # fmt: skip
        credential = installed.credential("deleted", "default")
        key = Principal.create()
        first = seek(installed, credential, token, key)
        assert first.status_code == 200, first.text
        replica = (key, Blessing.from_pem(first.json()["chain"]))
        serial = replica[1].leaf.serial_number
        wait_for(
            "a list without it",
            lambda: serial not in revoked_serials(installed, credential),
            not_yet=(httpx.HTTPStatusError,),
        )
        assert seek(installed, credential, token, presented=replica).status_code == 200
        installed.kubectl("delete", "pod", "gone", "-n", "deleted")
        # The API server may answer from its cache of authenticated tokens for ten seconds.
        wait_for("refusal", lambda: reason(seek(installed, credential, token)) == "TokenNotAuthenticated")
        renewal = seek(installed, credential, token, presented=replica)
        assert reason(renewal) in ("TokenNotAuthenticated", "Revoked")
        wait_for("revocation", lambda: serial in revoked_serials(installed, credential))
        renewal = seek(installed, credential, token, presented=replica)
        assert reason(renewal) == "Revoked"


def test_attack_a_revoked_replica_is_refused_by_its_peers_over_mtls(installed: Installation) -> None:
    """Its certificate has long to live: the lists that the pod agents have do it, in both directions."""
    lasting = json.loads(json.dumps(MANIFESTS))
    namespace, account, deployment, _ = lasting
    namespace["metadata"]["name"] = "lasting"
    account["metadata"]["namespace"] = deployment["metadata"]["namespace"] = "lasting"
    deployment["spec"]["replicas"] = 2
    name = {"namespace": "lasting", "serviceAccount": "fortune", "name": "acme:prod:Lasting"}
    with installed.control_plane_client("administrator") as administrator:
        answer = administrator.post("/v1/register-application", json={**name, "ttlSeconds": 3600})
        answer.raise_for_status()
        installed.apply(namespace, account, deployment)
        revoked, peer = installed.ready_pods("lasting", 2)

        def asked(caller: dict[str, Any], server: dict[str, Any]) -> tuple[int, str]:
            address = f"{server['status']['podIP']}:2345"
            return installed.runner.execute(
                name_of(caller), "fortune", "python", "-m", "fortune", "get", "--connect", address
            )

        for one, other in ((revoked, peer), (peer, revoked)):
            code, said = asked(one, other)
            assert code == 0, said
        body = {"podUid": revoked["metadata"]["uid"]}
        answer = administrator.post("/v1/revoke", json=body).raise_for_status()
        assert answer.json()["certificates"] >= 1

    def refused(caller: dict[str, Any], server: dict[str, Any]) -> bool:
        code, said = asked(caller, server)
        assert code == 0 or "its issuer revoked it" in said, said
        return code == 1

    wait_for("its peer refuses it", lambda: refused(revoked, peer), 120, installed.logs_end)
    wait_for("its peer does not call it", lambda: refused(peer, revoked), 120, installed.logs_end)
    installed.kubectl("delete", "namespace", "lasting", "--wait=false")


def test_attack_the_webhooks_certificate_keeps_secrets_and_administers_nothing(
    installed: Installation,
) -> None:
    """As deploy/ and the webhook itself have it: the Secrets of all the other tests were made with it."""
    data = installed.get("secret", "webhook-serving", "-n", SYSTEM)["data"]
    files = Material.from_files({key: base64.b64decode(value).decode() for key, value in data.items()})
    context = client_context(files.principal, files.blessing, files.roots)
    with httpx.Client(base_url=installed.cluster_agent_url, verify=context) as webhook:
        assert webhook.get("/v1/secrets").status_code == 200
        for path in ("/v1/acknowledgements", "/v1/applications", "/v1/identity-roots", "/v1/upstream"):
            assert reason(webhook.get(path)) == "NotAnAdministrator", path
        assert reason(webhook.post("/v1/revoke", json={"podUid": "uid"})) == "NotAnAdministrator"


def test_an_unlabelled_namespaces_pods_are_untouched_byte_for_byte(
    installed: Installation, shop: list[dict[str, Any]]
) -> None:
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "plain"},
        "spec": {"containers": [{"name": "c", "image": "none"}], "nodeName": "nowhere"},
    }
    installed.kubectl("create", "namespace", "unlabelled")
    wait_for("default service account", lambda: _exists(installed, "serviceaccount/default", "unlabelled"))

    def created() -> dict[str, Any]:
        pod_json = json.dumps(pod)
        answer = installed.kubectl(
            "create", "-n", "unlabelled", "--dry-run=server", "-o", "json", "-f", "-", stdin=pod_json
        )
        made: dict[str, Any] = json.loads(answer)
        return made

    with_webhook = created()
    saved = installed.get("mutatingwebhookconfiguration", "vanadium-webhook")
    installed.kubectl("delete", "mutatingwebhookconfiguration", "vanadium-webhook")
    try:
        without = created()
    finally:
        saved["metadata"] = {"name": "vanadium-webhook", "labels": saved["metadata"]["labels"]}
        installed.kubectl("create", "-f", "-", stdin=json.dumps(saved))
    installed.wait_until_injected("shop")
    assert _without_chance(with_webhook) == _without_chance(without)
    installed.kubectl("delete", "namespace", "unlabelled", "--wait=false")


def _exists(installed: Installation, what: str, namespace: str) -> str:
    return installed.kubectl("get", what, "-n", namespace, "-o", "name", check=False)


def _without_chance(pod: dict[str, Any]) -> str:
    """The Pod's JSON but for what the API server draws anew each time: its UID, times, one volume's name."""
    for field in ("uid", "creationTimestamp"):
        del pod["metadata"][field]
    for entry in pod["metadata"].get("managedFields", []):
        del entry["time"]
    text = json.dumps(pod)
    for volume in pod["spec"]["volumes"]:
        text = text.replace(volume["name"], "kube-api-access")
    return text


def test_a_server_side_dry_run_is_injected_and_writes_nothing(
    installed: Installation, shop: list[dict[str, Any]]
) -> None:
    credential_before = installed.get("secret", "vanadium-bootstrap", "-n", "shop")["metadata"][
        "resourceVersion"
    ]
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"generateName": "dry-", "namespace": "shop"},
        "spec": {"serviceAccountName": "fortune", "containers": [{"name": "c", "image": "none"}]},
    }
    answer = installed.kubectl("create", "--dry-run=server", "-o", "json", "-f", "-", stdin=json.dumps(pod))
    names = [container["name"] for container in json.loads(answer)["spec"]["initContainers"]]
    assert names == ["vanadium-pod-agent"]
    assert not [
        one for one in installed.get("pods", "-n", "shop")["items"] if name_of(one).startswith("dry-")
    ]
    after = installed.get("secret", "vanadium-bootstrap", "-n", "shop")["metadata"]["resourceVersion"]
    assert after == credential_before


def test_a_job_has_an_identity_from_its_init_containers_on_and_finishes(
    installed: Installation, shop: list[dict[str, Any]]
) -> None:
    show = "from agent_client import AgentClient; print(*AgentClient().names())"
    container = {"image": "none", "command": ["python", "-c", show]}
    spec = {
        "restartPolicy": "Never",
        "serviceAccountName": "fortune",
        "initContainers": [{"name": "before", **container}],
        "containers": [{"name": "job", **container}],
    }
    installed.apply(
        {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"name": "once", "namespace": "shop"},
            "spec": {"template": {"spec": spec}, "backoffLimit": 0},
        }
    )

    def completed() -> bool:
        status = installed.get("job", "once", "-n", "shop")["status"]
        return any(
            one["type"] == "Complete" and one["status"] == "True" for one in status.get("conditions", [])
        )

    wait_for("the Job's completion", completed, 120)
    (pod,) = installed.get("pods", "-n", "shop", "-l", "job-name=once")["items"]
    running = installed.runner.pod(name_of(pod))
    for name in ("before", "job"):
        assert running.log_of(name).strip() == f"acme:prod:shop:fortune:{name_of(pod)}"
    installed.kubectl("delete", "job", "once", "-n", "shop")


def test_the_bootstrap_secret_comes_and_goes_with_the_label(installed: Installation) -> None:
    def secret() -> str:
        return _exists(installed, "secret/vanadium-bootstrap", "labelled")

    installed.kubectl("create", "namespace", "labelled")
    assert not secret()
    installed.kubectl("label", "namespace", "labelled", "vanadium.io/inject=enabled")
    wait_for("the Secret", secret)
    installed.kubectl("create", "serviceaccount", "later", "-n", "labelled")
    wait_for(
        "its key", lambda: "later" in installed.get("secret", "vanadium-bootstrap", "-n", "labelled")["data"]
    )
    credential = installed.credential("labelled", "later")
    installed.kubectl("label", "namespace", "labelled", "vanadium.io/inject-")
    wait_for("no Secret", lambda: not secret())
    assert reason(seek(installed, credential, "")) == "SecretForgotten"
    installed.kubectl("delete", "namespace", "labelled", "--wait=false")


def test_the_logs_hold_no_secret(installed: Installation, shop: list[dict[str, Any]]) -> None:
    credential = installed.credential("shop", "fortune")
    key_line = credential.principal.to_pem().decode().splitlines()[1]
    logs = [*Path(installed.logs).glob("*.log")]
    assert len(logs) == 2
    for log in logs:
        text = log.read_text()
        assert key_line not in text
        assert "eyJ" not in text, "a token"
