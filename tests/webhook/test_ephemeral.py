"""Ephemeral containers: a debugger gets the sockets, by an entry of its own."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

import jsonpatch
import pytest

from tests.pods import container, pod, review
from tests.webhook.applying import CONFIGURATION, injected, patch_of
from webhook.admission import Admission, admit
from webhook.layout import APPLICATION_VARIABLES
from webhook.reasons import AdmissionReason
from webhook.sidecar import Configuration

JSONObject = dict[str, Any]


def debugged(
    subject: JSONObject,
    *debuggers: JSONObject,
    before: int = 0,
    configuration: Configuration = CONFIGURATION,
) -> tuple[Admission, list[JSONObject]]:
    """The answer about a Pod with these, of which the first `before` ran already; and they after it."""
    after, old = copy.deepcopy(subject), copy.deepcopy(subject)
    after["spec"]["ephemeralContainers"] = list(debuggers)
    old["spec"]["ephemeralContainers"] = list(debuggers[:before])
    asked = review(after, operation="UPDATE", subResource="ephemeralcontainers", oldObject=old)
    admission = admit(asked, configuration)
    if not admission.allowed:
        return admission, []
    patched = jsonpatch.apply_patch(after, patch_of(admission.answer))
    assert {**patched["spec"], "ephemeralContainers": None} == {**after["spec"], "ephemeralContainers": None}
    found: list[JSONObject] = patched["spec"]["ephemeralContainers"]
    return admission, found


def test_a_new_one_gets_the_sockets_and_those_before_it_stay_as_they_are() -> None:
    admission, (first, second) = debugged(
        injected(pod()), container("one"), container("two", env=[{"name": "A", "value": "1"}]), before=1
    )
    assert admission.reason is AdmissionReason.SOCKET_ADDED
    assert first == container("one")
    assert second["volumeMounts"] == [
        {"name": "vanadium-socket", "mountPath": "/run/vanadium", "readOnly": True}
    ]
    assert [one["name"] for one in second["env"]] == [*APPLICATION_VARIABLES, "A"]
    again, _ = debugged(injected(pod()), second)
    assert again.reason is AdmissionReason.ALREADY_INJECTED


def test_one_that_the_annotation_does_not_name_gets_none_and_is_told() -> None:
    subject = injected(pod(annotations={"vanadium.io/containers": "web"}))
    admission, (debugger,) = debugged(subject, container("debugger"))
    assert debugger == container("debugger")
    assert "does not name it" in admission.answer["response"]["warnings"][0]


def test_one_whose_own_mounts_or_variables_stand_in_the_way_is_let_through_as_it_is() -> None:
    mounting = container("a", volumeMounts=[{"name": "data", "mountPath": "/run/vanadium"}])
    setting = container("b", env=[{"name": "V23_AGENT_PATH", "value": "/elsewhere"}])
    admission, found = debugged(injected(pod()), mounting, setting)
    assert admission.allowed
    assert found == [mounting, setting]
    assert len(admission.answer["response"]["warnings"]) == 2


def test_a_pod_without_the_pod_agent_is_left_alone() -> None:
    admission, (debugger,) = debugged(pod(), container("debugger"))
    assert (admission.reason, debugger) == (AdmissionReason.SUBRESOURCE, container("debugger"))


OF_THE_AGENT = container("debugger", securityContext={"runAsUser": 58193})


@pytest.mark.parametrize("annotations", [{}, {"vanadium.io/containers": "web"}])
def test_attack_one_of_the_agents_own_user_is_refused(annotations: JSONObject) -> None:
    admission, _ = debugged(injected(pod(annotations=annotations)), container("one"), OF_THE_AGENT, before=1)
    assert (admission.allowed, admission.reason) == (False, AdmissionReason.USER_CLASH)
    assert "spec.ephemeralContainers[1].securityContext.runAsUser is 58193" in admission.message
    assert "inject=disabled" not in admission.message


def test_attack_one_that_inherits_the_agents_user_from_the_pod_is_refused() -> None:
    subject = injected(
        pod(container(securityContext={"runAsUser": 1000}), securityContext={"runAsUser": 58193})
    )
    admission, _ = debugged(subject, container("debugger"))
    assert admission.reason is AdmissionReason.USER_CLASH
    assert debugged(subject, container("debugger", securityContext={"runAsUser": 1000}))[0].allowed


def test_attack_the_pods_own_agent_decides_where_the_configured_user_changed_later() -> None:
    later = dataclasses.replace(CONFIGURATION, user=20000)
    assert not debugged(injected(pod()), OF_THE_AGENT, configuration=later)[0].allowed
    subject = injected(pod(), later)
    assert debugged(subject, OF_THE_AGENT, configuration=later)[0].allowed
    same = container("debugger", securityContext={"runAsUser": 20000})
    assert not debugged(subject, same, configuration=later)[0].allowed


@pytest.mark.parametrize("stated", [None, [], "20000", 58193.0])
def test_attack_an_agent_whose_user_is_no_number_is_judged_by_the_configured_one(stated: object) -> None:
    subject = injected(pod())
    subject["spec"]["initContainers"][0]["securityContext"]["runAsUser"] = stated
    assert not debugged(subject, OF_THE_AGENT)[0].allowed


def test_one_whose_user_the_cluster_chooses_as_it_does_the_agents_is_let_through() -> None:
    of_cluster = dataclasses.replace(CONFIGURATION, user=None)
    subject = injected(pod(), of_cluster)
    subject["spec"]["initContainers"][0]["securityContext"]["runAsUser"] = 58193
    assert debugged(subject, OF_THE_AGENT, configuration=of_cluster)[0].allowed


def test_one_that_runs_already_is_not_judged_again() -> None:
    assert debugged(injected(pod()), OF_THE_AGENT, container("next"), before=1)[0].allowed
