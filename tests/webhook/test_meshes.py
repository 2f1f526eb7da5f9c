"""The pod agent beside a service mesh's containers, in Pods of the shapes that Istio and Linkerd make."""

from __future__ import annotations

from typing import Any

import pytest

from tests.pods import container, pod
from tests.webhook.applying import CONFIGURATION, apply, injected
from webhook.injection import inject
from webhook.layout import CONTAINER
from webhook.reasons import AdmissionReason

JSONObject = dict[str, Any]
ISTIO = "traffic.sidecar.istio.io/excludeOutboundPorts"
LINKERD = "config.linkerd.io/skip-outbound-ports"


def native(name: str) -> JSONObject:
    return container(name, restartPolicy="Always")


def init_names(subject: JSONObject) -> list[str]:
    return [one["name"] for one in subject["spec"]["initContainers"]]


# Which containers a mesh puts first, and where it has its proxy otherwise.
SHAPES = {
    "istio": ([], ["istio-proxy"], ["migrate", "istio-init"], ISTIO),
    "istio-cni": (["istio-validation"], ["istio-proxy"], ["migrate"], ISTIO),
    "istio-native": (["istio-init", "istio-proxy"], [], ["migrate"], ISTIO),
    "istio-cni-native": (["istio-validation", "istio-proxy"], [], ["migrate"], ISTIO),
    "linkerd": ([], ["linkerd-proxy"], ["migrate", "linkerd-init"], LINKERD),
    "linkerd-init-first": ([], ["linkerd-proxy"], ["linkerd-init", "migrate"], LINKERD),
    "linkerd-cni": (["linkerd-network-validator"], ["linkerd-proxy"], ["migrate"], LINKERD),
    "linkerd-native": (["linkerd-init", "linkerd-proxy"], [], ["migrate"], LINKERD),
    "linkerd-cni-native": (["linkerd-network-validator", "linkerd-proxy"], [], ["migrate"], LINKERD),
}


def in_mesh(first: list[str], beside: list[str], then: list[str], **more: Any) -> JSONObject:
    running = {"istio-proxy", "linkerd-proxy"}
    initial = [native(one) if one in running else container(one) for one in [*first, *then]]
    return pod(container("web"), *[container(one) for one in beside], init=initial, **more)


@pytest.mark.parametrize(("first", "beside", "then", "annotation"), SHAPES.values(), ids=SHAPES)
def test_the_agent_stands_behind_what_a_mesh_has_running_and_before_all_else(
    first: list[str], beside: list[str], then: list[str], annotation: str
) -> None:
    result = injected(in_mesh(first, beside, then))
    assert init_names(result) == [*first, CONTAINER, *then]
    assert result["metadata"]["annotations"] == {annotation: "8193"}
    assert inject(result, CONFIGURATION).reason is AdmissionReason.ALREADY_INJECTED


@pytest.mark.parametrize(
    ("stated", "after"),
    [
        ("", "8193"),
        ("443, 5432", "443,5432,8193"),
        ("8193", "8193"),
        ("443,8000-8999", "443,8000-8999"),
        ("81930,-,x", "81930,-,x,8193"),
        ("*", "*"),
        ("9" * 5000, "9" * 5000 + ",8193"),
    ],
)
@pytest.mark.parametrize(("proxy", "annotation"), [("istio-proxy", ISTIO), ("linkerd-proxy", LINKERD)])
def test_the_users_list_of_ports_keeps_its_values(
    proxy: str, annotation: str, stated: str, after: str
) -> None:
    subject = pod(container("web"), container(proxy), annotations={annotation: stated, "a": "b"})
    assert injected(subject)["metadata"]["annotations"] == {annotation: after, "a": "b"}


def test_a_mesh_that_comes_later_is_found_by_the_second_call() -> None:
    subject = injected(pod(annotations={"a": "b"}))
    subject["spec"]["initContainers"].insert(0, native("istio-proxy"))
    second = inject(subject, CONFIGURATION)
    assert second.reason is AdmissionReason.SOCKET_ADDED
    result = apply(subject, second)
    assert init_names(result) == ["istio-proxy", CONTAINER]
    assert result["metadata"]["annotations"] == {"a": "b", ISTIO: "8193"}


def test_a_users_container_between_those_of_a_mesh_comes_after_the_agent() -> None:
    subject = pod(init=[container("istio-validation"), container("migrate"), native("istio-proxy")])
    assert init_names(injected(subject)) == ["istio-validation", CONTAINER, "migrate", "istio-proxy"]


def test_a_pod_without_a_mesh_keeps_its_annotations() -> None:
    assert "annotations" not in injected(pod())["metadata"]
