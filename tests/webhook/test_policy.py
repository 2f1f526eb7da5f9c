"""Who gets an identity, and who does not for which reason (checklist 7, 8, 14, 20)."""

from __future__ import annotations

from typing import Any

import pytest

from tests.operating_systems import FOR_WINDOWS, PERHAPS_FOR_LINUX
from tests.pods import container, pod, review
from tests.webhook.applying import CONFIGURATION, injected, named, patch_of
from webhook.admission import Admission, admit
from webhook.reasons import AdmissionReason

JSONObject = dict[str, Any]
LABEL = "vanadium.io/inject"


def admitted(subject: JSONObject | None, **request: Any) -> Admission:
    excluded = frozenset({"kube-system", "kube-public", "kube-node-lease", "vanadium-system"})
    return admit(review(subject, **request), CONFIGURATION, excluded)


def assert_untouched(admission: Admission, reason: AdmissionReason) -> None:
    assert admission.reason is reason
    assert admission.message
    assert admission.allowed
    assert "patch" not in admission.answer["response"]
    assert admission.answer["response"]["auditAnnotations"] == {"reason": reason.value}


@pytest.mark.parametrize("labels", [None, {}, {"app": "web"}, {LABEL: "enabled"}])
def test_a_pod_of_a_labelled_namespace_is_injected(labels: dict[str, str] | None) -> None:
    admission = admitted(pod(labels=labels))
    assert admission.reason is AdmissionReason.INJECTED
    assert patch_of(admission.answer)


def test_the_pods_own_label_switches_injection_off() -> None:
    assert_untouched(admitted(pod(labels={LABEL: "disabled"})), AdmissionReason.DISABLED_BY_LABEL)


@pytest.mark.parametrize("value", ["", "true", "yes", "Enabled", "disable"])
def test_a_label_that_says_neither_yes_nor_no_is_refused_with_the_value(value: str) -> None:
    admission = admitted(pod(labels={LABEL: value}))
    assert admission.reason is AdmissionReason.INVALID_LABEL
    assert not admission.allowed
    assert f"label {LABEL}: {value!r}: expected enabled or disabled" in admission.message


@pytest.mark.parametrize("labels", [None, {LABEL: "enabled"}, {LABEL: "nonsense"}])
def test_mirror_pods_are_never_touched_nor_refused(labels: dict[str, str] | None) -> None:
    subject = pod(labels=labels, annotations={"kubernetes.io/config.mirror": "0123abcd"})
    assert_untouched(admitted(subject), AdmissionReason.MIRROR_POD)


@pytest.mark.parametrize("operation", ["UPDATE", "DELETE", "CONNECT", ""])
def test_operations_other_than_create_are_untouched(operation: str) -> None:
    assert_untouched(admitted(pod(), operation=operation), AdmissionReason.NOT_A_CREATE)


def test_a_deletion_which_has_no_object_is_untouched() -> None:
    assert_untouched(admitted(None, operation="DELETE"), AdmissionReason.NOT_A_CREATE)


@pytest.mark.parametrize(
    ("group", "resource"), [("", "services"), ("apps", "deployments"), ("metrics.k8s.io", "pods")]
)
def test_other_resources_are_untouched(group: str, resource: str) -> None:
    kind = {"group": group, "version": "v1", "resource": resource}
    assert_untouched(admitted(pod(), resource=kind), AdmissionReason.NOT_A_POD)


@pytest.mark.parametrize("subresource", ["status", "ephemeralcontainers", "binding", "resize"])
def test_subresources_are_untouched(subresource: str) -> None:
    assert_untouched(admitted(pod(), subResource=subresource), AdmissionReason.SUBRESOURCE)


@pytest.mark.parametrize("namespace", ["kube-system", "kube-public", "kube-node-lease", "vanadium-system"])
def test_the_clusters_namespaces_and_our_own_are_left_alone(namespace: str) -> None:
    assert_untouched(
        admitted(pod(labels={LABEL: "enabled"}), namespace=namespace), AdmissionReason.EXCLUDED_NAMESPACE
    )


@pytest.mark.parametrize(("subject", "stated"), FOR_WINDOWS)
def test_windows_pods_are_skipped_and_their_author_hears_of_it(subject: JSONObject, stated: str) -> None:
    admission = admitted(subject)
    assert_untouched(admission, AdmissionReason.WINDOWS_POD)
    (warning,) = admission.answer["response"]["warnings"]
    assert warning.startswith("no identity: the Pod is for Windows")
    assert stated in warning


@pytest.mark.parametrize("subject", PERHAPS_FOR_LINUX)
def test_pods_that_may_run_on_linux_are_injected(subject: JSONObject) -> None:
    assert admitted(subject).reason is AdmissionReason.INJECTED


def test_pods_on_the_nodes_network_are_skipped_unless_they_ask() -> None:
    assert_untouched(admitted(pod(hostNetwork=True)), AdmissionReason.HOST_NETWORK)
    metrics = {"vanadium.io/metrics-port": "8194"}
    asked = admitted(pod(hostNetwork=True, labels={LABEL: "enabled"}, annotations=metrics))
    assert asked.reason is AdmissionReason.INJECTED
    assert "port 8194 of the node" in asked.answer["response"]["warnings"][0]


def test_other_host_namespaces_are_no_obstacle() -> None:
    admission = admitted(pod(hostIPC=True))
    assert admission.reason is AdmissionReason.INJECTED
    assert "warnings" not in admission.answer["response"]


AGENT_USER = named(injected(pod())["spec"]["initContainers"], "vanadium-pod-agent")["securityContext"][
    "runAsUser"
]
OTHER_USER = {"runAsUser": 1000}


@pytest.mark.parametrize("shared", ["shareProcessNamespace", "hostPID"])
@pytest.mark.parametrize(
    ("of_pod", "of_container"),
    [
        ({}, {}),  # the image's user, which may be root or the agent's
        (OTHER_USER, {"runAsUser": 0}),
        (OTHER_USER, {"privileged": True}),
        (OTHER_USER, {"capabilities": {"add": ["SYS_PTRACE"]}}),
        (OTHER_USER, {"capabilities": {"add": ["SETUID"]}}),
        (OTHER_USER, {"capabilities": {"add": ["CAP_SYS_ADMIN"]}}),
        (OTHER_USER, {"capabilities": {"add": ["ALL"]}}),
    ],
)
def test_a_shared_process_namespace_is_warned_of_with_each_container_that_can_read_the_agents_memory(
    shared: str, of_pod: JSONObject, of_container: JSONObject
) -> None:
    subject = pod(
        container("web", securityContext=of_container),
        container("other", securityContext={"runAsUser": 1001}),
        securityContext=of_pod,
    )
    subject["spec"][shared] = True
    (warning,) = admitted(subject).answer["response"]["warnings"]
    assert "shared process namespace" in warning
    assert warning.endswith(": web")


def test_a_shared_process_namespace_of_other_users_is_no_warning() -> None:
    subject = pod(container("web"), securityContext=OTHER_USER, shareProcessNamespace=True)
    assert "warnings" not in admitted(subject).answer["response"]


def test_the_agents_user_is_none_that_common_images_have() -> None:
    # root; nobody; distroless' nonroot and chainguard's; Istio's and Linkerd's proxies; the usual first user.
    assert AGENT_USER not in {0, 65534, 65532, 65533, 1337, 2102, 1000, 1001, 10001}
    assert AGENT_USER < 65536  # a Pod with a user namespace has no more


def test_nothing_left_to_do_has_a_reason_of_its_own() -> None:
    admission = admitted(injected(pod()))
    assert admission.reason is AdmissionReason.ALREADY_INJECTED
    assert "patch" not in admission.answer["response"]
    assert "patchType" not in admission.answer["response"]


def test_a_container_added_later_has_a_reason_of_its_own() -> None:
    subject = injected(pod())
    subject["spec"]["containers"].append(container("proxy"))
    assert admitted(subject).reason is AdmissionReason.SOCKET_ADDED


def test_every_reason_is_one_camel_case_word() -> None:
    assert all(reason.value.isidentifier() and reason.value[0].isupper() for reason in AdmissionReason)
