"""Reviews in, reviews out (checklist 5, 15, 16, 19)."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.pods import container, pod, review
from tests.webhook.applying import CONFIGURATION, injected, patch_of
from webhook.admission import admit
from webhook.errors import BadRequestError
from webhook.injection import inject
from webhook.patch import pointer
from webhook.reasons import AdmissionReason

JSONObject = dict[str, Any]

_VALUES = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.sampled_from(["", "a", "x/~"])
)
JUNK = st.recursive(
    _VALUES,
    lambda children: (
        st.lists(children, max_size=3) | st.dictionaries(st.sampled_from("abc"), children, max_size=3)
    ),
    max_leaves=6,
)


@pytest.mark.parametrize("version", ["v1", "v1beta1"])
def test_both_versions_are_answered_in_kind_with_the_uid(version: str) -> None:
    answer = admit(review(pod(), version=version, uid="the-uid"), CONFIGURATION).answer
    assert answer["apiVersion"] == f"admission.k8s.io/{version}"
    assert answer["kind"] == "AdmissionReview"
    assert answer["response"]["uid"] == "the-uid"
    assert answer["response"]["allowed"] is True
    assert patch_of(answer) == inject(pod(), CONFIGURATION).operations


@pytest.mark.parametrize("version", ["v1", "v1beta1"])
def test_a_refusal_carries_reason_and_message_and_no_patch(version: str) -> None:
    subject = pod(container("vanadium-pod-agent"))
    response = admit(review(subject, version=version), CONFIGURATION).answer["response"]
    assert response["allowed"] is False
    assert response["status"]["reason"] == "ContainerClash"
    assert response["status"]["code"] == 403
    assert "spec.containers[0]" in response["status"]["message"]
    assert "patch" not in response


def test_a_version_that_we_do_not_know_is_refused_to_who_asked() -> None:
    admission = admit(review(pod(), version="v2", uid="u"), CONFIGURATION)
    assert not admission.allowed
    assert admission.answer["response"]["uid"] == "u"
    assert admission.reason is AdmissionReason.UNSUPPORTED_REVIEW_VERSION


def test_a_dry_run_gets_the_same_answer() -> None:
    assert (
        admit(review(pod(), dry_run=True), CONFIGURATION).answer == admit(review(pod()), CONFIGURATION).answer
    )


def test_a_pod_with_a_generated_name_has_none_yet_and_its_namespace_is_the_requests() -> None:
    admission = admit(review(pod(generate_name="web-7d9f-"), namespace="shop"), CONFIGURATION)
    assert admission.reason is AdmissionReason.INJECTED
    assert (admission.request.namespace, admission.request.name) == ("shop", "")
    assert admission.generate_name == "web-7d9f-"
    assert admit(review(pod(generate_name="web-"), namespace="kube-system"), CONFIGURATION).reason is (
        AdmissionReason.EXCLUDED_NAMESPACE
    )


def test_the_answer_holds_nothing_of_the_pods_values() -> None:
    subject = pod(container(env=[{"name": "PASSWORD", "value": "hunter2"}]), annotations={"a": "hunter2"})
    answer = admit(review(subject), CONFIGURATION).answer
    assert "hunter2" not in json.dumps(answer)
    assert "hunter2" not in json.dumps(patch_of(answer))


def test_warnings_are_no_longer_than_api_servers_pass_on() -> None:
    subject = pod(annotations={f"vanadium.io/{'x' * 300}": "", "vanadium.io/containers": "y" * 300})
    warnings = admit(review(subject), CONFIGURATION).answer["response"]["warnings"]
    assert len(warnings) == 2
    assert all(len(warning) <= 256 for warning in warnings)


@pytest.mark.parametrize(
    "document",
    [
        None,
        [],
        "review",
        {},
        {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview"},
        {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": None},
        {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {}},
        {"apiVersion": "v1", "kind": "Pod"},
        {**review(pod()), "kind": "Review"},
        {**review(pod()), "apiVersion": "v1"},
        {**review(pod()), "request": "x"},
        review(pod(), uid=""),
        review(pod(), uid="x" * 300),
    ],
)
def test_what_is_no_review_cannot_be_answered(document: object) -> None:
    with pytest.raises(BadRequestError, match="not an AdmissionReview: ") as caught:
        admit(document, CONFIGURATION)
    assert (caught.value.status, caught.value.reason) == (400, AdmissionReason.MALFORMED_REVIEW)


@pytest.mark.parametrize(
    ("subject", "problem"),
    [
        (None, "request.object is missing"),
        ({}, "spec.containers is missing or empty"),
        ({"spec": None}, "spec.containers is missing or empty"),
        ({"spec": []}, "spec is an array, expected an object"),
        ({"spec": {"containers": {}}}, "spec.containers is an object, expected an array"),
        ({"spec": {"containers": [1]}}, "spec.containers[0] is a number, expected an object"),
        (pod(container(env="x")), "spec.containers[0].env is a string, expected an array"),
        (
            pod(container(env=[{"name": ["x"]}])),
            "spec.containers[0].env[0].name is an array, expected a string",
        ),
        (
            pod(container(volumeMounts=[None])),
            "spec.containers[0].volumeMounts[0] is null, expected an object",
        ),
        (pod({"name": 7}), "spec.containers[0].name is a number, expected a string"),
        (pod(hostNetwork="yes"), "spec.hostNetwork is a string, expected true or false"),
        ({"metadata": {"labels": {"a": 1}}}, "metadata.labels: the value of 'a' is not a string"),
    ],
)
def test_a_malformed_pod_is_refused_with_the_place_of_its_fault(
    subject: JSONObject | None, problem: str
) -> None:
    document = review({})
    document["request"]["object"] = subject
    admission = admit(document, CONFIGURATION)
    assert admission.reason is AdmissionReason.MALFORMED_POD
    assert not admission.allowed
    assert problem in admission.message


def _damaged(document: Any, path: list[int], junk: object) -> Any:
    """`document` with the value at one place, which `path` leads to, replaced by `junk`."""
    if not path or not document or not isinstance(document, dict | list):
        return junk
    step, *rest = path
    if isinstance(document, list):
        index = step % len(document)
        return [_damaged(each, rest, junk) if i == index else each for i, each in enumerate(document)]
    key = sorted(document)[step % len(document)]
    return {k: _damaged(each, rest, junk) if k == key else each for k, each in document.items()}


_RICH = pod(
    container(
        env=[{"name": "A", "value": "x"}],
        volumeMounts=[{"name": "v", "mountPath": "/run"}],
        volumeDevices=[{"name": "d", "devicePath": "/dev/x"}],
        ports=[{"containerPort": 80}],
    ),
    init=[container("m")],
    labels={"a": "b"},
    annotations={"vanadium.io/ttl": "30m"},
    volumes=[{"name": "v", "emptyDir": {}}],
    os={"name": "linux"},
)


@given(st.lists(st.integers(0, 20), max_size=8), JUNK, st.booleans())
def test_a_review_damaged_anywhere_is_answered_or_refused_and_never_crashes(
    path: list[int], junk: object, again: bool
) -> None:
    subject = injected(_RICH) if again else _RICH
    document = _damaged(review(subject), path, junk)
    try:
        answer = admit(document, CONFIGURATION).answer
    except BadRequestError:
        return
    json.dumps(answer)


def test_pointers_escape_what_json_pointer_reserves() -> None:
    assert pointer("metadata", "annotations", "a/b~c", 0) == "/metadata/annotations/a~1b~0c/0"
