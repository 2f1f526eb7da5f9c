"""Which Pods lack an identity that they could have."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.pods import container, pod
from tests.webhook.applying import CONFIGURATION, injected, named
from webhook.healer.diagnosis import Cause, FoundPod, Physician, version_of
from webhook.layout import CONTAINER
from webhook.namespace_defaults import Defaults
from webhook.volume_support import NOT_LOOKED

PHYSICIAN = Physician(lambda _: Defaults(CONFIGURATION, {}), NOT_LOOKED)


def stored(subject: dict[str, Any], **status: Any) -> dict[str, Any]:
    """As an API server has it."""
    subject["metadata"].update(
        uid="u", resourceVersion="7", creationTimestamp="2026-01-01T00:00:00Z", namespace="shop"
    )
    return {**subject, "status": {"phase": "Running", **status}}


def judged(subject: dict[str, Any], physician: Physician = PHYSICIAN) -> FoundPod:
    result = physician.found(stored(subject))
    assert result is not None
    return result


def test_a_pod_without_the_pod_agent_is_missing_it() -> None:
    assert judged(pod()).cause is Cause.MISSING
    assert judged(injected(pod())).cause is None


@pytest.mark.parametrize(
    "subject",
    [
        pod(labels={"vanadium.io/inject": "disabled"}),
        pod(hostNetwork=True),
        pod(os={"name": "windows"}),
        pod(annotations={"kubernetes.io/config.mirror": "a"}),
    ],
)
def test_what_the_webhook_skips_is_left(subject: dict[str, Any]) -> None:
    assert (judged(subject).cause, judged(subject).refused) == (None, "")


@pytest.mark.parametrize(
    "subject",
    [
        pod(labels={"vanadium.io/inject": "maybe"}),
        pod(volumes=[{"name": "vanadium-socket", "emptyDir": {}}]),
        pod(container(CONTAINER)),
        pod(annotations={"vanadium.io/ttl": "soon"}),
    ],
)
def test_what_the_webhook_would_refuse_is_no_candidate(subject: dict[str, Any]) -> None:
    assert judged(subject).cause is None
    assert judged(subject).refused


def test_a_pod_that_ended_or_is_deleted_counts_for_nothing() -> None:
    assert PHYSICIAN.found(stored(pod(), phase="Succeeded")) is None
    going = stored(pod())
    going["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert PHYSICIAN.found(going) is None


def test_a_pod_agent_older_than_the_oldest_supported_one_is_outdated() -> None:
    physician = Physician(lambda _: Defaults(CONFIGURATION, {}), NOT_LOOKED, (0, 2, 0))
    for image, cause in (
        ("vanadium/pod-agent:0.1.9", Cause.OUTDATED),
        ("vanadium/pod-agent:v0.1.9-rc.1", Cause.OUTDATED),
        ("vanadium/pod-agent:0.2.0", None),
        ("vanadium/pod-agent:latest", None),
    ):
        subject = injected(pod())
        named(subject["spec"]["initContainers"], CONTAINER)["image"] = image
        assert judged(subject, physician).cause is cause, image
        # Where the pod author or the namespace chose it, the same one would come again.
        chosen = Defaults(replace(CONFIGURATION, image=image), {})
        assert judged(subject, Physician({"shop": chosen}.__getitem__, NOT_LOOKED, (0, 2, 0))).cause is None
        subject["metadata"]["annotations"] = {"vanadium.io/image": image}
        assert judged(subject, physician).cause is None


def test_the_version_of_an_image_is_that_of_its_tag() -> None:
    assert version_of("registry.example:5000/pod-agent:1.2.3@sha256:00ff") == (1, 2, 3)
    assert version_of("registry.example:5000/pod-agent") is None
    assert version_of("pod-agent@sha256:00ff") is None
