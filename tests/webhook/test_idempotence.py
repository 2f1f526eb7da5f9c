"""What holds for every Pod, whatever other webhooks change (checklist 1, 2, 4, 11, 12, 13)."""

from __future__ import annotations

import copy
from typing import Any

import jsonpatch
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.pods import container, pod
from tests.webhook.applying import CONFIGURATION, apply, injected, named
from tests.webhook.strategies import Injector, injectors, pods
from webhook.injection import inject
from webhook.layout import APPLICATION_VARIABLES, CONTAINER, VOLUMES
from webhook.reasons import AdmissionReason

JSONObject = dict[str, Any]
SOCKET_MOUNT = {"name": "vanadium-socket", "mountPath": "/run/vanadium", "readOnly": True}


def all_containers(subject: JSONObject) -> list[JSONObject]:
    return [*(subject["spec"].get("initContainers") or []), *subject["spec"]["containers"]]


def without_ours(subject: JSONObject) -> JSONObject:
    """The Pod with everything taken out that has one of our names; arrays left empty are taken out too."""
    rest = copy.deepcopy(subject)
    spec = rest["spec"]
    for place in ("initContainers", "containers"):
        spec[place] = [each for each in spec.get(place) or [] if each["name"] != CONTAINER]
        for each in spec[place]:
            each["volumeMounts"] = [m for m in each.get("volumeMounts") or [] if m != SOCKET_MOUNT]
            each["env"] = [v for v in each.get("env") or [] if v["name"] not in APPLICATION_VARIABLES]
            for key in ("volumeMounts", "env"):
                if not each[key]:
                    del each[key]
    spec["volumes"] = [volume for volume in spec.get("volumes") or [] if volume["name"] not in VOLUMES]
    for key in ("initContainers", "volumes"):
        if not spec[key]:
            del spec[key]
    return rest


@given(pods())
def test_a_second_injection_changes_nothing(subject: JSONObject) -> None:
    once = injected(subject)
    again = inject(once, CONFIGURATION)
    assert again.operations == []
    assert again.reason is AdmissionReason.ALREADY_INJECTED


@given(pods(), st.lists(injectors(), max_size=3), st.lists(injectors(), max_size=3))
def test_with_other_injectors_before_and_after_the_last_injection_settles_it(
    subject: JSONObject, before: list[Injector], after: list[Injector]
) -> None:
    for injector in before:
        subject = injector(subject)
    subject = injected(subject)
    for injector in after:
        subject = injector(subject)
    subject = injected(subject)
    assert inject(subject, CONFIGURATION).operations == []
    assert [each["name"] for each in all_containers(subject)].count(CONTAINER) == 1
    for each in all_containers(subject):
        if each["name"] != CONTAINER:
            assert each["volumeMounts"].count(SOCKET_MOUNT) == 1
            for name, value in APPLICATION_VARIABLES.items():
                assert {v["name"]: v.get("value") for v in each["env"]}[name] == value


@given(pods())
def test_everything_of_the_users_stays_as_it_was(subject: JSONObject) -> None:
    original = copy.deepcopy(subject)
    result = injected(subject)
    assert subject == original, "inject changed its argument"
    assert without_ours(result) == without_ours(original)
    assert result["metadata"] == original["metadata"]


@given(pods())
def test_the_users_elements_keep_their_order_mounts_first_and_variables_last(subject: JSONObject) -> None:
    result = injected(subject)
    for mine, theirs in zip(
        [each for each in all_containers(result) if each["name"] != CONTAINER],
        all_containers(subject),
        strict=True,
    ):
        before = theirs.get("volumeMounts") or []
        assert mine["volumeMounts"][: len(before)] == before
        before = theirs.get("env") or []
        assert mine["env"][len(mine["env"]) - len(before) :] == before
    before = subject["spec"].get("volumes") or []
    assert result["spec"]["volumes"][: len(before)] == before


@given(pods())
def test_every_operation_adds_and_none_replaces_an_array_that_has_elements(subject: JSONObject) -> None:
    document: JSONObject = copy.deepcopy(subject)
    for operation in inject(subject, CONFIGURATION).operations:
        assert operation["op"] == "add"
        assert operation["path"].startswith("/spec/")
        *parents, last = operation["path"].split("/")[1:]
        owner: Any = document
        for segment in parents:
            owner = owner[int(segment)] if isinstance(owner, list) else owner[segment]
        if isinstance(owner, dict):
            assert not owner.get(last), f"{operation['path']} replaces what is there"
        document = jsonpatch.apply_patch(document, [operation])


@pytest.mark.parametrize("place", ["containers", "initContainers"])
def test_a_container_that_a_later_webhook_adds_gets_socket_and_variables(place: str) -> None:
    subject = injected(pod())
    subject["spec"][place].insert(0, container("proxy"))
    second = inject(subject, CONFIGURATION)
    assert second.reason is AdmissionReason.SOCKET_ADDED
    proxy = named(apply(subject, second)["spec"][place], "proxy")
    assert proxy["volumeMounts"] == [SOCKET_MOUNT]
    assert {each["name"]: each["value"] for each in proxy["env"]} == APPLICATION_VARIABLES


def test_an_annotation_that_claims_injection_is_not_believed() -> None:
    subject = pod(annotations={"sidecar.vanadium.example/status": "injected"})
    assert inject(subject, CONFIGURATION).reason is AdmissionReason.INJECTED


@pytest.mark.parametrize("place", ["containers", "initContainers"])
def test_our_container_is_recognised_in_either_list(place: str) -> None:
    subject = injected(pod())
    (agent,) = subject["spec"].pop("initContainers")
    subject["spec"].setdefault(place, []).append(agent)
    assert inject(subject, CONFIGURATION).reason is AdmissionReason.ALREADY_INJECTED


def test_two_versions_of_the_webhook_agree_on_what_the_other_injected() -> None:
    subject = injected(pod())
    agent = subject["spec"]["initContainers"][0]
    agent["image"] = "registry.example/pod-agent:older"
    agent["volumeMounts"] = [m for m in agent["volumeMounts"] if m["name"] != "vanadium-no-api-access"]
    subject["spec"]["volumes"] = [
        volume for volume in subject["spec"]["volumes"] if volume["name"] != "vanadium-no-api-access"
    ]
    assert inject(subject, CONFIGURATION).reason is AdmissionReason.ALREADY_INJECTED
