"""The Events about Pods that get no identity: whose they are, and who can have none written."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from typing import Any
from unittest.mock import patch

import pytest
from prometheus_client import CollectorRegistry

from tests.pods import container, pod, review
from tests.webhook.api_server import ApiServer
from tests.webhook.applying import CONFIGURATION
from vkube.admission.advice import _ADVICE
from vkube.admission.judgement import _SERVED
from webhook.admission import admit
from webhook.answers import Answers
from webhook.lines import Lines
from webhook.metrics import Metrics, NoticeMetrics
from webhook.notices.subject import Subject, subject_of
from webhook.notices.writer import Notices
from webhook.policy import CLUSTER_NAMESPACES
from webhook.reasons import REFUSALS, SKIPS, AdmissionReason
from webhook.shares import Shares
from webhook.volume_support import NOT_LOOKED, VolumeSupport

OWNER = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-7d9f", "uid": "u1", "controller": True}
NOW = datetime(2026, 1, 2, tzinfo=UTC)


def owned(**changes: Any) -> dict[str, Any]:
    subject = pod(container(), generate_name="web-7d9f-", **changes)
    subject["metadata"]["ownerReferences"] = [{**OWNER, "controller": False, "name": "other"}, OWNER]
    return subject


def written(
    *reviews: dict[str, Any], support: VolumeSupport = NOT_LOOKED
) -> tuple[list[dict[str, Any]], CollectorRegistry]:
    """The Events of these admissions, in a cluster with such kubelets."""
    registry, server = CollectorRegistry(), ApiServer()

    async def run() -> None:
        notices = Notices(NoticeMetrics(registry), now=lambda: NOW)
        async with server.clients() as api:
            task = notices.task(api)
            for one in reviews:
                notices.admitted(admit(one, CONFIGURATION, CLUSTER_NAMESPACES, support))
            await task.run()

    asyncio.run(run())
    return list(server.events.values()), registry


def test_each_skip_and_refusal_is_an_event_of_the_owner() -> None:
    disabled, host = owned(labels={"vanadium.io/inject": "disabled"}), owned(hostNetwork=True)
    clash = owned(volumes=[{"name": "vanadium-socket", "emptyDir": {}}])
    events, registry = written(*map(review, (disabled, host, clash, owned())))
    assert {(one["reason"], one["type"]) for one in events} == {
        ("DisabledByLabel", "Normal"),
        ("HostNetwork", "Warning"),
        ("VolumeClash", "Warning"),
    }
    for one in events:
        assert one["involvedObject"] == {
            "apiVersion": "apps/v1",
            "kind": "ReplicaSet",
            "name": "web-7d9f",
            "namespace": "shop",
            "uid": "u1",
        }
        assert one["metadata"]["namespace"] == "shop"
    (refused,) = [one for one in events if one["reason"] == "VolumeClash"]
    assert refused["message"].startswith("Refused: spec.volumes[0] is named vanadium-socket")
    assert registry.get_sample_value("vanadium_webhook_events_total", {"result": "Written"}) == 3


def test_a_delivery_that_the_author_left_open_is_told_with_the_reason() -> None:
    automatic = owned(annotations={"vanadium.io/delivery": "auto"})
    (volume,), _ = written(review(automatic), support=VolumeSupport(None))
    assert (volume["reason"], volume["type"]) == ("VolumeInjected", "Normal")
    assert volume["message"] == (
        "Identity: volume: vanadium.io/delivery is auto, and the kubelet of each node can"
    )
    (sidecar,), _ = written(review(automatic))
    assert sidecar["reason"] == "Injected"
    assert sidecar["message"].startswith("Identity: sidecar: vanadium.io/delivery is auto, and the webhook")


def test_a_dry_run_and_an_injection_write_nothing() -> None:
    clash = owned(volumes=[{"name": "vanadium-socket", "emptyDir": {}}])
    assert written(review(clash, dry_run=True), review(owned()))[0] == []


def test_a_pod_without_a_controller_is_the_subject_itself() -> None:
    assert subject_of(pod(name="web-1")) == Subject("v1", "Pod", "web-1", "")
    assert subject_of(pod(generate_name="web-")) == Subject("v1", "Pod", "web-", "")


@pytest.mark.parametrize(
    "raw",
    [
        None,
        {"metadata": []},
        {"metadata": {"ownerReferences": {"controller": True}}},
        {"metadata": {"ownerReferences": [None, {"controller": True, "name": ["x"]}]}},
        {"metadata": {"ownerReferences": [{**OWNER, "name": "x" * 10_000}]}},
        {"metadata": {"name": 7, "generateName": {}}},
    ],
)
def test_attack_metadata_that_is_none_names_no_owner(raw: object) -> None:
    assert subject_of(raw, "asked") == Subject("v1", "Pod", "asked", "")


def test_every_outcome_about_a_new_pod_is_told_but_an_identity() -> None:
    assert set(_ADVICE) - set(_SERVED) - {AdmissionReason.MIRROR_POD} == SKIPS | REFUSALS


@pytest.mark.parametrize(("known", "told"), [(True, ["VolumeClash"]), (False, []), (None, [])])
def test_attack_a_review_that_no_api_server_sent_writes_no_event(known: bool | None, told: list[str]) -> None:
    place = Shares(lambda _: known, lambda _: None).admit("192.0.2.1", lambda: None)
    assert place is not None
    heard: list[str] = []
    answers = Answers(
        CONFIGURATION,
        CLUSTER_NAMESPACES,
        Metrics(),
        Lines("webhook"),
        notice=lambda one: heard.append(one.reason.value),
    )
    forged = review(owned(volumes=[{"name": "vanadium-socket", "emptyDir": {}}]), namespace="kube-system-2")
    with patch.object(Lines, "are_written", False):
        answer = answers.to(json.dumps(forged).encode(), 0.0, is_known=place.is_known)
    assert b"VolumeClash" in answer.content
    assert heard == told
