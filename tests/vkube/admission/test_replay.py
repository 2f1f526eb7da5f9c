"""The new version's injector over what a cluster has: what changes, is refused, or clashes."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from tests.pods import container, pod
from tests.webhook.applying import named
from vkube.admission.deployed import default_settings
from vkube.admission.judgement import judge
from vkube.admission.replay import (
    HARMFUL,
    Outcome,
    Replay,
    as_written,
    delivery_changes,
    image_changes,
    replay,
)
from vkube.admission.templates import Template
from vkube.configuration import Configuration
from webhook.layout import CONTAINER
from webhook.settings import Settings
from webhook.volume_support import NO_CLUSTER, VolumeSupport

NEW = default_settings(Configuration())
OLD = NEW.model_copy(update={"pod_agent_image": "vanadium/pod-agent:0.1.0"})


def template(**spec: Any) -> Template:
    metadata = {"annotations": spec.pop("annotations", {}), "labels": spec.pop("labels", {})}
    own = {"metadata": metadata, "spec": {"containers": [container()], **spec}}
    manifest = {
        "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "shop"},
        "spec": {"template": own},
    }
    found = Template.of(manifest, "shop")
    assert found is not None
    return found


def live(one: Template, settings: Settings = NEW) -> dict[str, Any]:
    """A Pod that the webhook with these settings let in, with what an API server fills in."""
    made = copy.deepcopy(judge(one.pod, settings).patched)
    for each in [*made["spec"].get("initContainers", []), *made["spec"]["containers"]]:
        each["imagePullPolicy"] = each.get("imagePullPolicy", "IfNotPresent")
        each["terminationMessagePath"] = "/dev/termination-log"
    for volume in made["spec"].get("volumes", []):
        if "secret" in volume:
            volume["secret"]["defaultMode"] = 420
    return {**made, "status": {"phase": "Running"}}


def replayed(one: Template, *pods: dict[str, Any]) -> Replay:
    return replay(one, pods, NEW, NO_CLUSTER)


def test_what_the_new_version_does_alike_is_the_same() -> None:
    result = replayed(template(), live(template()))
    assert (result.outcome, result.changes) == (Outcome.SAME, ())


def test_each_injected_field_that_differs_is_named() -> None:
    old = live(template(), OLD)
    agent = named(old["spec"]["initContainers"], CONTAINER)
    agent["env"].append({"name": "VANADIUM_POD_AGENT_GONE", "value": "1"})
    del agent["env"][0]
    agent["resources"]["limits"]["memory"] = "1Gi"
    result = replayed(template(), old)
    assert result.outcome is Outcome.CHANGED
    text = "\n".join(result.changes)
    assert f"{CONTAINER}.image: 'vanadium/pod-agent:0.1.0' becomes '{NEW.pod_agent_image}'" in text
    assert "[VANADIUM_POD_AGENT_GONE] is no longer there" in text
    assert "[VANADIUM_POD_AGENT_CLUSTER_AGENT_URL] is new" in text
    assert "resources.limits.memory: '1Gi' becomes" in text
    assert len(result.changes) == 4


def test_a_workload_that_the_new_version_refuses_stops_the_rollout() -> None:
    good = live(template())
    refused = template(volumes=[{"name": "vanadium-socket", "emptyDir": {}}])
    assert replayed(refused, good).outcome is Outcome.REFUSED
    assert replayed(refused).reason == "VolumeClash"
    assert replayed(template(hostNetwork=True), good).outcome is Outcome.LOST
    assert {Outcome.REFUSED, Outcome.LOST} < set(HARMFUL)


def test_a_live_pod_that_the_new_version_does_not_take_is_a_clash() -> None:
    """While both versions run, the new one may be asked again about a Pod into which the old one injected."""
    odd = live(template())
    named(odd["spec"]["volumes"], "vanadium-token").pop("projected")
    result = replayed(template(), odd)
    assert (result.outcome, result.reason) == (Outcome.CLASH, "VolumeClash")


@pytest.mark.parametrize(("pods", "outcome"), [([pod()], Outcome.GAINED), ([], Outcome.SAME)])
def test_running_pods_without_an_identity_would_gain_one(
    pods: list[dict[str, Any]], outcome: Outcome
) -> None:
    assert replayed(template(), *pods).outcome is outcome


def test_a_pod_agent_of_another_image_is_outdated() -> None:
    for settings, outdated in ((OLD, True), (NEW, False)):
        running = live(template(), settings)
        written = Template.of({"kind": "Pod", **as_written(running)}, "shop")
        assert written is not None
        judgement = judge(written.pod, NEW)
        assert judgement.served
        assert image_changes(judgement, running) is outdated


@pytest.mark.parametrize("before", ["sidecar", "volume"])
@pytest.mark.parametrize("after", ["sidecar", "volume"])
def test_a_live_pod_has_another_delivery_than_a_new_one_would(before: str, after: str) -> None:
    """After the annotation of a namespace changed: `vkube restart --outdated` told that nothing is to do."""

    def of(delivery: str) -> dict[str, Any]:
        return {"metadata": {"name": "shop", "annotations": {"vanadium.io/delivery": delivery}}}

    old = judge(template().pod, NEW, VolumeSupport(None), of(before)).patched
    new = judge(as_written(old), NEW, VolumeSupport(None), of(after))
    assert new.served, new.message
    assert delivery_changes(new, old) is (before != after)
