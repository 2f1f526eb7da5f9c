"""Defaults by a namespace's annotations: its Pods inherit or override them, and a tenant may write them."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from tests.pods import pod, review
from tests.webhook.applying import CONFIGURATION, apply, named
from webhook.admission import admit
from webhook.injection import inject_pod
from webhook.namespace_defaults import Defaults, NamespaceDefaults, defaults, inherited
from webhook.pod import Pod
from webhook.reasons import AdmissionReason
from webhook.reconciler.watch import Cluster, Item, Seen
from webhook.resources import Resources
from webhook.volume_support import NOT_LOOKED

JSONObject = dict[str, Any]


def prefixed(annotations: dict[str, str]) -> dict[str, str]:
    return {f"vanadium.io/{name}": value for name, value in annotations.items()}


def of_namespace(**annotations: str) -> Defaults:
    stated = prefixed({name.replace("_", "-"): value for name, value in annotations.items()})
    return defaults(inherited(stated), CONFIGURATION)


def agent(own: Defaults, **annotations: str) -> JSONObject:
    """The container that is injected into a Pod with such annotations."""
    stated = prefixed({name.replace("_", "-"): value for name, value in annotations.items()})
    subject = pod(annotations=stated) if stated else pod()
    own.check()
    injection = inject_pod(Pod(subject, own.annotations), own.configuration, NOT_LOOKED)
    container: JSONObject = apply(subject, injection)["spec"]["initContainers"][0]
    return container


def variable(container: JSONObject, name: str) -> str:
    found: str = named(container["env"], f"VANADIUM_POD_AGENT_{name}")["value"]
    return found


def test_a_pod_inherits_what_it_does_not_state() -> None:
    own = of_namespace(
        log_level="debug", ttl="30m", metrics_port="9000", memory_limit="48Mi", startup_wait="3s"
    )
    inheriting = agent(own)
    assert variable(inheriting, "LOG_LEVEL") == "debug"
    assert variable(inheriting, "TTL_SECONDS") == "1800"
    assert variable(inheriting, "HEALTH_PORT") == "9000"
    assert inheriting["resources"]["limits"]["memory"] == "48Mi"
    assert "lifecycle" in inheriting
    overriding = agent(own, ttl="1h", log_level="error", startup_wait="0")
    assert "lifecycle" not in overriding
    assert variable(overriding, "TTL_SECONDS") == "3600"
    assert variable(overriding, "LOG_LEVEL") == "error"
    assert variable(overriding, "HEALTH_PORT") == "9000"


def test_a_pods_request_above_the_namespaces_limit_raises_the_limit_as_it_does_the_installations() -> None:
    resources = agent(of_namespace(memory_limit="48Mi"), memory_request="64Mi")["resources"]
    assert (resources["requests"]["memory"], resources["limits"]["memory"]) == ("64Mi", "64Mi")


def test_the_containers_of_a_namespace_are_those_of_each_of_its_pods() -> None:
    own = of_namespace(containers="web,log")
    subject = pod()
    result = apply(subject, inject_pod(Pod(subject, own.annotations), own.configuration, NOT_LOOKED))
    assert "env" in named(result["spec"]["containers"], "web")


def test_the_delivery_is_inherited_and_checked() -> None:
    assert of_namespace(delivery="auto").annotations == {"vanadium.io/delivery": "auto"}
    assert "expected one of sidecar" in of_namespace(delivery="post").problem
    assert "'1Ki': is less than 24Mi" in of_namespace(memory_limit="1Ki").problem


def test_a_wrong_annotation_of_the_namespace_refuses_its_pods_and_is_named_so() -> None:
    admission = admit(review(pod()), lambda _: of_namespace(ttl="forever"))
    assert admission.reason is AdmissionReason.INVALID_ANNOTATION
    assert admission.message.startswith("the namespace's annotation vanadium.io/ttl: 'forever': expected")


def test_a_wrong_annotation_refuses_no_pod_that_wants_no_identity() -> None:
    subject = pod(labels={"vanadium.io/inject": "disabled"})
    assert admit(review(subject), lambda _: of_namespace(ttl="forever")).allowed


@pytest.mark.parametrize("stated", [{"image": "evil.example/agent:1"}, {"image_pull_secrets": "evil"}])
def test_attack_who_may_annotate_a_namespace_runs_no_image_in_its_pods(stated: dict[str, str]) -> None:
    annotations = prefixed({name.replace("_", "-"): value for name, value in stated.items()})
    own = defaults(annotations, CONFIGURATION)
    assert "permits it to no namespace" in own.problem
    assert own.configuration == CONFIGURATION
    permitted = defaults(annotations, CONFIGURATION, images_permitted=True)
    permitted.check()
    assert permitted.configuration != CONFIGURATION


def test_secrets_to_pull_with_are_those_of_the_installation_and_of_the_namespace() -> None:
    installed = dataclasses.replace(CONFIGURATION, pull_secrets=("a",))
    own = defaults({"vanadium.io/image-pull-secrets": "b, c"}, installed, images_permitted=True)
    assert own.configuration.pull_secrets == ("a", "b", "c")


def test_attack_long_annotations_are_not_held_and_not_cut_to_something_else() -> None:
    stated = inherited(prefixed({"containers": "a," * 100_000, "ttl": "30m", "files": "web", "other": "x"}))
    assert sum(map(len, stated.values())) < 100
    assert "expected at most 2048 characters" in defaults(stated, CONFIGURATION).problem


def test_the_watch_hands_over_each_change_and_other_namespaces_are_left_as_they_are() -> None:
    known = NamespaceDefaults(CONFIGURATION, images_permitted=False)
    cluster = Cluster(lambda _: None, known)
    assert known.problem() is not None
    listed = [named_item("shop", ttl="30m"), named_item("bank", log_level="debug"), named_item("plain")]
    cluster.take_namespaces(Seen(listed, is_complete=True))
    assert known.problem() is None
    assert known.of("shop").annotations == {"vanadium.io/ttl": "30m"}
    assert known.of("plain").configuration is CONFIGURATION
    cluster.take_namespaces(Seen([named_item("shop", ttl="45m")], is_complete=False))
    assert known.of("shop").annotations == {"vanadium.io/ttl": "45m"}
    cluster.take_namespaces(Seen([named_item("shop")], is_complete=False, is_deletion=True))
    assert known.of("shop").annotations == {}
    assert known.of("bank").configuration.log_level == "debug"
    assert known.of("bank").configuration.resources == Resources()


def named_item(name: str, **annotations: str) -> Item:
    metadata = {
        "name": name,
        "annotations": prefixed({k.replace("_", "-"): v for k, v in annotations.items()}),
    }
    return Item.of({"metadata": metadata})
