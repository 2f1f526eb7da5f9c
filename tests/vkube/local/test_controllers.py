"""Which Pods workloads become, and what a Job does next."""

from __future__ import annotations

import random
from typing import Any

import pytest

from vkube.local.controllers import INDEX, claims_of, job_of, job_pod, named, pods_of
from vkube.local.jobs import JobPod, Step, next_step

TEMPLATE: dict[str, Any] = {
    "metadata": {"labels": {"app": "web"}},
    "spec": {"containers": [{"name": "web", "image": "web"}], "restartPolicy": "Never"},
}


def workload(kind: str, **spec: object) -> dict[str, Any]:
    return {
        "kind": kind,
        "metadata": {"name": "web", "namespace": "shop"},
        "spec": {"template": TEMPLATE, **spec},
    }


def names(made: list[dict[str, Any]]) -> list[str]:
    return [pod["metadata"]["name"] for pod in made]


def test_a_deployment_becomes_pods_with_names_of_their_own() -> None:
    pods = pods_of(workload("Deployment", replicas=3), random.Random(1))
    assert len(set(names(pods))) == 3
    assert all(len(name.split("-")) == 3 and name.startswith("web-") for name in names(pods))
    assert len({pod["metadata"]["uid"] for pod in pods}) == 3
    assert {pod["spec"]["serviceAccountName"] for pod in pods} == {"default"}


@pytest.mark.parametrize(("replicas", "count"), [(None, 1), (0, 0), (2, 2)])
@pytest.mark.parametrize("kind", ["Deployment", "ReplicaSet", "StatefulSet"])
def test_a_workload_has_as_many_replicas_as_kubernetes_would_make(
    kind: str, replicas: int | None, count: int
) -> None:
    assert len(pods_of(workload(kind, replicas=replicas), random.Random(1))) == count


def test_a_daemon_set_has_one_pod_because_there_is_one_node() -> None:
    (name,) = names(pods_of(workload("DaemonSet"), random.Random(1)))
    assert name.startswith("web-")
    assert len(name) == len("web-xxxxx")


def test_a_stateful_set_becomes_pods_with_ordinals_and_claims_of_their_own() -> None:
    manifest = workload(
        "StatefulSet",
        replicas=2,
        ordinals={"start": 5},
        volumeClaimTemplates=[{"metadata": {"name": "data"}}],
    )
    pods = pods_of(manifest, random.Random(1))
    assert names(pods) == ["web-5", "web-6"]
    assert [pod["spec"]["volumes"][0]["persistentVolumeClaim"]["claimName"] for pod in pods] == [
        "data-web-5",
        "data-web-6",
    ]
    assert claims_of(manifest, pods) == {("shop", "data-web-5"), ("shop", "data-web-6")}


def test_a_generated_name_ends_in_random_letters() -> None:
    made = named({"kind": "Pod", "metadata": {"generateName": "web-", "namespace": "shop"}}, random.Random(1))
    assert made["metadata"]["name"].startswith("web-")
    assert len(made["metadata"]["name"]) == len("web-xxxxx")


def test_an_indexed_pod_knows_its_index() -> None:
    pod = job_pod(workload("Job"), 3, random.Random(1))
    assert pod["metadata"]["name"].startswith("web-3-")
    assert pod["metadata"]["annotations"][INDEX] == pod["metadata"]["labels"][INDEX] == "3"
    assert pod["spec"]["containers"][0]["env"] == [{"name": "JOB_COMPLETION_INDEX", "value": "3"}]
    assert TEMPLATE["metadata"] == {"labels": {"app": "web"}}


def test_a_cron_job_becomes_the_job_of_its_template() -> None:
    cron_job = {
        "kind": "CronJob",
        "metadata": {"name": "web", "namespace": "shop"},
        "spec": {"schedule": "@daily", "jobTemplate": {"spec": {"template": TEMPLATE}}},
    }
    job = job_of(cron_job, random.Random(1))
    assert job["metadata"]["name"].startswith("web-")
    assert job["spec"] == {"template": TEMPLATE}


SUCCEEDED, FAILED, RUNNING = (JobPod(None, "Succeeded"), JobPod(None, "Failed"), JobPod(None, "Running"))


@pytest.mark.parametrize(
    ("spec", "pods", "step"),
    [
        ({}, [], Step(start=[None])),
        ({}, [RUNNING], Step(start=[])),
        ({}, [SUCCEEDED], Step(outcome="Complete")),
        ({}, [FAILED], Step(start=[None])),
        ({"backoffLimit": 0}, [FAILED], Step(outcome="Failed")),
        ({"backoffLimit": 1}, [JobPod(None, "Running", restarts=2)], Step(outcome="Failed")),
        ({"suspend": True}, [], Step(outcome="Suspended")),
        ({"parallelism": 0}, [], Step(outcome="Suspended")),
        ({"completions": 3, "parallelism": 2}, [], Step(start=[None, None])),
        ({"completions": 3, "parallelism": 2}, [SUCCEEDED, RUNNING], Step(start=[None])),
        ({"completions": 3, "parallelism": 2}, [SUCCEEDED, SUCCEEDED, RUNNING], Step(start=[])),
        ({"parallelism": 3}, [], Step(start=[None, None, None])),
        ({"parallelism": 3}, [SUCCEEDED, RUNNING], Step()),
        ({"parallelism": 3}, [SUCCEEDED, SUCCEEDED, SUCCEEDED], Step(outcome="Complete")),
        ({"completionMode": "Indexed", "completions": 3, "parallelism": 2}, [], Step(start=[0, 1])),
        (
            {"completionMode": "Indexed", "completions": 3, "parallelism": 2},
            [JobPod(0, "Failed"), JobPod(1, "Running")],
            Step(start=[0]),
        ),
        (
            {"completionMode": "Indexed", "completions": 2},
            [JobPod(0, "Succeeded"), JobPod(1, "Succeeded")],
            Step(outcome="Complete"),
        ),
    ],
)
def test_a_job_starts_what_is_missing_and_ends_as_its_controller_would(
    spec: dict[str, Any], pods: list[JobPod], step: Step
) -> None:
    assert next_step(spec, pods) == step
