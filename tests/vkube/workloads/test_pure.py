"""Pod templates, selectors, and how far a rollout is, as functions of JSON."""

from __future__ import annotations

from typing import Any

import pytest

from vkube.errors import ManifestError
from vkube.workloads.pod_state import summary
from vkube.workloads.progress import Progress, progress_of
from vkube.workloads.template import label_of, labelled, service_account_of, template_of

SPEC = {"serviceAccountName": "web", "containers": [{"name": "web"}]}
BY_KIND: dict[str, dict[str, Any]] = {
    "Pod": {"kind": "Pod", "metadata": {"name": "web"}, "spec": SPEC},
    "Deployment": {"kind": "Deployment", "metadata": {"name": "web"}, "spec": {"template": {"spec": SPEC}}},
    "CronJob": {
        "kind": "CronJob",
        "metadata": {"name": "web"},
        "spec": {"jobTemplate": {"spec": {"template": {"metadata": {"labels": {"a": "b"}}, "spec": SPEC}}}},
    },
}


@pytest.mark.parametrize("workload", BY_KIND.values(), ids=BY_KIND)
def test_the_label_is_added_to_the_pods_of_every_kind_and_nothing_else(workload: dict[str, Any]) -> None:
    changed = labelled(workload, "enabled")
    assert (label_of(workload), label_of(changed)) == (None, "enabled")
    assert service_account_of(changed) == "web"
    labels = template_of(changed)["metadata"]["labels"]
    del labels["vanadium.io/inject"]
    assert labels == (template_of(workload).get("metadata") or {}).get("labels", {})
    assert template_of(changed)["spec"] == SPEC


@pytest.mark.parametrize("spec", [None, [], {"template": None}, {"template": {"spec": []}}, {"template": 1}])
def test_a_workload_without_a_template_is_told_with_its_field(spec: object) -> None:
    with pytest.raises(ManifestError, match=r"Deployment web: spec\.template\.spec is missing"):
        template_of({"kind": "Deployment", "metadata": {"name": "web"}, "spec": spec})


def rolled(kind: str, status: dict[str, Any], **spec: object) -> Progress:
    return progress_of({"kind": kind, "metadata": {"generation": 2}, "spec": spec, "status": status})


CURRENT = {"observedGeneration": 2}
STUCK = [{"type": "Progressing", "status": "False", "message": "ReplicaSet has timed out progressing."}]


@pytest.mark.parametrize(
    ("progress", "text", "outcome"),
    [
        (rolled("Deployment", {"observedGeneration": 1}), "its controller has not seen it yet", "goes on"),
        (rolled("Deployment", CURRENT), "0 of 1 updated, 0 of 1 available", "goes on"),
        (
            rolled("Deployment", {**CURRENT, "updatedReplicas": 2, "availableReplicas": 1}, replicas=2),
            "2 of 2 updated, 1 of 2 available",
            "goes on",
        ),
        (
            rolled(
                "Deployment",
                {**CURRENT, "replicas": 3, "updatedReplicas": 2, "availableReplicas": 3},
                replicas=2,
            ),
            "1 replicas of the previous version are ending",
            "goes on",
        ),
        (
            rolled(
                "Deployment",
                {**CURRENT, "replicas": 2, "updatedReplicas": 2, "availableReplicas": 2},
                replicas=2,
            ),
            "2 of 2 updated, 2 of 2 available",
            "done",
        ),
        (
            rolled("Deployment", {**CURRENT, "conditions": STUCK}),
            "ReplicaSet has timed out progressing.",
            "failed",
        ),
        (rolled("Deployment", CURRENT, replicas=0), "0 of 0 updated, 0 of 0 available", "done"),
        (rolled("StatefulSet", {**CURRENT, "updatedReplicas": 1}), "1 of 1 updated, 0 of 1 ready", "goes on"),
        (
            rolled("StatefulSet", {**CURRENT, "updatedReplicas": 1, "readyReplicas": 1}),
            "1 of 1 updated, 1 of 1 ready",
            "done",
        ),
        (
            rolled("DaemonSet", {**CURRENT, "desiredNumberScheduled": 3, "updatedNumberScheduled": 3}),
            "3 of 3 updated, 0 of 3 available",
            "goes on",
        ),
        (rolled("ReplicaSet", {**CURRENT, "readyReplicas": 1}), "1 of 1 ready", "done"),
        (rolled("Job", {"succeeded": 1}, completions=2), "1 of 2 completed", "goes on"),
        (
            rolled(
                "Job", {"succeeded": 2, "conditions": [{"type": "Complete", "status": "True"}]}, completions=2
            ),
            "2 of 2 completed",
            "done",
        ),
        (
            rolled(
                "Job",
                {"conditions": [{"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded"}]},
            ),
            "BackoffLimitExceeded",
            "failed",
        ),
        (rolled("CronJob", {}), "it starts Jobs by its schedule", "done"),
        (rolled("Pod", {}), "Pending", "goes on"),
        (rolled("Pod", {"phase": "Running"}), "Running", "goes on"),
        (
            rolled("Pod", {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}),
            "Running",
            "done",
        ),
        (rolled("Pod", {"phase": "Succeeded"}), "Succeeded", "done"),
        (rolled("Pod", {"phase": "Failed", "message": "evicted"}), "evicted", "failed"),
    ],
)
def test_a_rollout_is_as_far_as_its_controller_says(progress: Progress, text: str, outcome: str) -> None:
    assert progress.text == text
    assert ("done" if progress.done else "failed" if progress.failed else "goes on") == outcome


@pytest.mark.parametrize(
    ("status", "text"),
    [
        ({}, "Pending"),
        (
            {
                "conditions": [
                    {"type": "PodScheduled", "status": "False", "message": "0/1 nodes are available"}
                ]
            },
            "Pending, not scheduled: 0/1 nodes are available",
        ),
        (
            {
                "phase": "Pending",
                "initContainerStatuses": [
                    {"name": "a", "state": {"terminated": {"exitCode": 0}}},
                    {"name": "b", "state": {"waiting": {"reason": "ImagePullBackOff"}}},
                ],
                "containerStatuses": [
                    {"name": "c", "ready": False, "state": {"waiting": {"reason": "PodInitializing"}}}
                ],
            },
            "Init:1/2; b: ImagePullBackOff",
        ),
        (
            {
                "phase": "Running",
                "containerStatuses": [
                    {"name": "c", "ready": True, "state": {"running": {}}},
                    {
                        "name": "d",
                        "ready": False,
                        "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s"}},
                        "lastState": {"terminated": {"exitCode": 3}},
                    },
                ],
            },
            "Running, 1/2 ready; d: CrashLoopBackOff: back-off 10s, exit code 3",
        ),
    ],
)
def test_a_pods_state_is_one_line_with_the_reason(status: dict[str, Any], text: str) -> None:
    assert summary(status) == text
