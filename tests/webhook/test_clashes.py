"""What of the user's has our name: refused with a clear message, never overwritten (checklist 3)."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from tests.pods import container, pod
from tests.webhook.applying import CONFIGURATION, injected, named
from webhook.errors import RefusalError
from webhook.injection import inject
from webhook.layout import VOLUMES
from webhook.reasons import AdmissionReason

JSONObject = dict[str, Any]


def refusal(subject: JSONObject) -> RefusalError:
    with pytest.raises(RefusalError) as caught:
        inject(subject, CONFIGURATION)
    return caught.value


@pytest.mark.parametrize("place", ["containers", "initContainers"])
def test_a_container_with_our_name_is_refused(place: str) -> None:
    theirs = container("vanadium-pod-agent")
    subject = pod(theirs) if place == "containers" else pod(init=[theirs])
    error = refusal(subject)
    assert error.reason is AdmissionReason.CONTAINER_CLASH
    assert f"spec.{place}[0] is named vanadium-pod-agent" in str(error)
    assert "vanadium.io/inject=disabled" in str(error)


def test_a_container_with_our_name_that_would_hold_up_the_init_containers_is_refused() -> None:
    subject = injected(pod())
    del subject["spec"]["initContainers"][0]["restartPolicy"]
    error = refusal(subject)
    assert error.reason is AdmissionReason.CONTAINER_CLASH
    assert "without restartPolicy: Always: something removed it" in str(error)


def test_our_container_without_one_of_its_mounts_is_named_so() -> None:
    subject = injected(pod())
    agent = subject["spec"]["initContainers"][0]
    agent["volumeMounts"] = [one for one in agent["volumeMounts"] if one["name"] != "vanadium-token"]
    assert "without the mount of vanadium-token: something removed it" in str(refusal(subject))


USER = {"runAsUser": 58193}


@pytest.mark.parametrize(
    ("of_pod", "of_container", "where"),
    [
        (USER, {}, "spec.securityContext"),
        ({}, USER, "spec.containers[0].securityContext"),
        ({"runAsUser": 1000}, USER, "spec.containers[0].securityContext"),
    ],
)
def test_attack_a_container_of_the_agents_own_user_is_refused(
    of_pod: JSONObject, of_container: JSONObject, where: str
) -> None:
    subject = pod(container(securityContext=of_container), securityContext=of_pod)
    error = refusal(subject)
    assert error.reason is AdmissionReason.USER_CLASH
    assert f"{where}.runAsUser is 58193" in str(error)
    assert "key from its memory" in str(error)
    injected(subject, dataclasses.replace(CONFIGURATION, user=20000))


def test_a_container_of_another_user_than_the_pods_is_no_clash() -> None:
    injected(pod(container(securityContext={"runAsUser": 1000}), securityContext=USER))


@pytest.mark.parametrize("name", VOLUMES)
def test_a_volume_with_one_of_our_names_is_refused(name: str) -> None:
    error = refusal(pod(volumes=[{"name": "data", "emptyDir": {}}, {"name": name, "emptyDir": {}}]))
    assert error.reason is AdmissionReason.VOLUME_CLASH
    assert f"spec.volumes[1] is named {name}" in str(error)


@pytest.mark.parametrize(
    "path",
    [
        "/run/vanadium",
        "/run/vanadium/",
        "/run/./vanadium",
        "//run/x/../vanadium",
        "run/vanadium",
        "/var/run/vanadium",
        "/run/vanadium/agent.sock",
        "/var/run/vanadium/deeper/still",
    ],
)
def test_a_mount_at_or_within_the_socket_directory_is_refused_however_it_is_spelled(path: str) -> None:
    subject = pod(
        container(volumeMounts=[{"name": "mine", "mountPath": path}]),
        volumes=[{"name": "mine", "emptyDir": {}}],
    )
    error = refusal(subject)
    assert error.reason is AdmissionReason.MOUNT_PATH_CLASH
    assert f"spec.containers[0].volumeMounts[0] mounts at {path}" in str(error)
    assert "vanadium.io/containers" in str(error)


@pytest.mark.parametrize("path", ["/run", "/var/run", "/run/", "/"])
@pytest.mark.parametrize(
    ("volume", "mount"),
    [
        ({"configMap": {"name": "c"}}, {}),
        ({"secret": {"secretName": "s"}}, {}),
        ({"hostPath": {"path": "/run"}}, {}),
        ({"persistentVolumeClaim": {"claimName": "c"}}, {}),
        ({"emptyDir": {}}, {"readOnly": True}),
    ],
    ids=["configMap", "secret", "hostPath", "claim", "read-only"],
)
def test_a_mount_above_the_socket_directory_that_holds_no_other_is_refused(
    path: str, volume: JSONObject, mount: JSONObject
) -> None:
    subject = pod(
        container(volumeMounts=[{"name": "mine", "mountPath": path, **mount}]),
        volumes=[{"name": "mine", **volume}],
    )
    assert refusal(subject).reason is AdmissionReason.MOUNT_PATH_CLASH


@pytest.mark.parametrize("path", ["/run", "/var/run"])
def test_a_writable_empty_directory_at_run_is_how_hardened_images_are_run_and_no_clash(path: str) -> None:
    subject = pod(
        container(volumeMounts=[{"name": "mine", "mountPath": path}]),
        volumes=[{"name": "mine", "emptyDir": {}}],
    )
    mounts = injected(subject)["spec"]["containers"][0]["volumeMounts"]
    assert [mount["mountPath"] for mount in mounts] == [path, "/run/vanadium"]


@pytest.mark.parametrize(
    "path", ["/run/vanadium-data", "/run/van", "/opt/run/vanadium", "/var/run/secrets/x"]
)
def test_a_mount_beside_the_socket_directory_is_no_clash(path: str) -> None:
    injected(pod(container(volumeMounts=[{"name": "mine", "mountPath": path}])))


def test_a_block_device_at_the_socket_directory_is_refused() -> None:
    subject = pod(container(volumeDevices=[{"name": "disk", "devicePath": "/run/vanadium"}]))
    assert refusal(subject).reason is AdmissionReason.MOUNT_PATH_CLASH


def test_the_socket_directory_mounted_writable_by_another_container_is_refused() -> None:
    subject = injected(pod())
    subject["spec"]["containers"][0]["volumeMounts"][0]["readOnly"] = False
    assert refusal(subject).reason is AdmissionReason.MOUNT_PATH_CLASH


@pytest.mark.parametrize("name", ["V23_AGENT_PATH", "SPIFFE_ENDPOINT_SOCKET"])
@pytest.mark.parametrize(
    "source",
    [{"value": "/private/place"}, {"valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}, {}],
    ids=["value", "valueFrom", "empty"],
)
def test_a_variable_with_our_name_and_another_value_is_refused(name: str, source: JSONObject) -> None:
    error = refusal(pod(container(env=[{"name": "A", "value": ""}, {"name": name, **source}])))
    assert error.reason is AdmissionReason.VARIABLE_CLASH
    assert f"spec.containers[0].env[1] sets {name}" in str(error)
    assert "/private/place" not in str(error)


def test_a_variable_with_our_name_and_our_value_is_kept_and_not_added_again() -> None:
    theirs = {"name": "V23_AGENT_PATH", "value": "/run/vanadium/agent.sock"}
    env = injected(pod(container(env=[theirs])))["spec"]["containers"][0]["env"]
    assert [each["name"] for each in env] == ["SPIFFE_ENDPOINT_SOCKET", "V23_AGENT_PATH"]


def test_a_clash_in_a_container_that_is_left_out_is_none() -> None:
    proxy = container("proxy", env=[{"name": "SPIFFE_ENDPOINT_SOCKET", "value": "unix:///other"}])
    subject = pod(container("web"), proxy, annotations={"vanadium.io/containers": "web"})
    assert named(injected(subject)["spec"]["containers"], "proxy") == proxy


@pytest.mark.parametrize("port", [{"containerPort": 8194}, {"containerPort": 8194, "protocol": "TCP"}])
def test_a_container_on_the_port_of_the_metrics_is_refused(port: JSONObject) -> None:
    subject = pod(container(ports=[{"containerPort": 80}, port]))
    injected(subject)
    subject["metadata"]["annotations"] = {"vanadium.io/metrics-port": "8194"}
    error = refusal(subject)
    assert error.reason is AdmissionReason.PORT_CLASH
    assert "spec.containers[0].ports[1] is TCP port 8194" in str(error)


def test_the_same_port_of_another_protocol_is_no_clash() -> None:
    subject = pod(container(ports=[{"containerPort": 8194, "protocol": "UDP"}]))
    subject["metadata"]["annotations"] = {"vanadium.io/metrics-port": "8194"}
    injected(subject)


def test_a_service_account_changed_after_injection_is_refused_with_both_names() -> None:
    subject = injected(pod(serviceAccountName="before"))
    subject["spec"]["serviceAccountName"] = "after"
    error = refusal(subject)
    assert error.reason is AdmissionReason.SERVICE_ACCOUNT_CHANGED
    assert "before" in str(error)
    assert "after" in str(error)


@pytest.mark.parametrize("name", ["vanadium-socket", "vanadium-bootstrap", "vanadium-token"])
@pytest.mark.parametrize("replacement", [None, {"hostPath": {"path": "/"}}], ids=["missing", "another"])
def test_our_container_without_its_volumes_is_refused(name: str, replacement: JSONObject | None) -> None:
    subject = injected(pod())
    volumes = [volume for volume in subject["spec"]["volumes"] if volume["name"] != name]
    subject["spec"]["volumes"] = volumes + ([{"name": name, **replacement}] if replacement else [])
    error = refusal(subject)
    assert error.reason is AdmissionReason.VOLUME_CLASH
    assert name in str(error)


def test_a_pod_into_which_the_previous_version_injected_is_left_alone_during_an_upgrade() -> None:
    """It mounts nothing beside the credential, and its pod agent needs nothing else."""
    subject = injected(pod())
    items = named(subject["spec"]["volumes"], "vanadium-bootstrap")["secret"]["items"]
    assert items.pop() == {"key": "_roots.pem", "path": "roots.pem"}
    assert inject(subject, CONFIGURATION).reason is AdmissionReason.ALREADY_INJECTED


@pytest.mark.parametrize("more", [{"key": "admin", "path": "roots.pem"}, {"key": "_roots.pem", "path": "x"}])
def test_attack_a_volume_with_another_credential_beside_ones_own_is_refused(more: JSONObject) -> None:
    subject = injected(pod())
    named(subject["spec"]["volumes"], "vanadium-bootstrap")["secret"]["items"][1] = more
    assert refusal(subject).reason is AdmissionReason.VOLUME_CLASH
