"""Ephemeral containers: a debugger gets the sockets, by an entry of its own, and is never refused."""

from __future__ import annotations

import copy
from typing import Any

import jsonpatch

from tests.pods import container, pod, review
from tests.webhook.applying import CONFIGURATION, injected, patch_of
from webhook.admission import Admission, admit
from webhook.layout import APPLICATION_VARIABLES
from webhook.reasons import AdmissionReason

JSONObject = dict[str, Any]


def debugged(
    subject: JSONObject, *debuggers: JSONObject, before: int = 0
) -> tuple[Admission, list[JSONObject]]:
    """The answer about a Pod with these, of which the first `before` ran already; and they after it."""
    after, old = copy.deepcopy(subject), copy.deepcopy(subject)
    after["spec"]["ephemeralContainers"] = list(debuggers)
    old["spec"]["ephemeralContainers"] = list(debuggers[:before])
    asked = review(after, operation="UPDATE", subResource="ephemeralcontainers", oldObject=old)
    admission = admit(asked, CONFIGURATION)
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
