"""The identity as files: for the containers that the annotation names, and for no other."""

from __future__ import annotations

from typing import Any

import pytest

from pod_agent.files import FilePlace
from pod_agent.settings import ignored, read_settings
from tests.pods import container, pod, restricted_container
from tests.webhook.applying import CONFIGURATION, apply, injected, named
from tests.webhook.pod_security import restricted
from webhook.errors import RefusalError
from webhook.injection import inject
from webhook.layout import CONTAINER
from webhook.reasons import AdmissionReason

JSONObject = dict[str, Any]
MOUNT = {"name": "vanadium-files", "mountPath": "/run/vanadium-files", "readOnly": True}


def asking(*containers: JSONObject, **changes: Any) -> JSONObject:
    """A Pod whose container `web` is to get files; `changes` are annotations, or fields of the spec."""
    annotations = {"vanadium.io/files": changes.pop("files", "web")}
    for name in ("mode", "group"):
        if name in changes:
            annotations[f"vanadium.io/files-{name}"] = changes.pop(name)
    return pod(*(containers or (container("web"),)), annotations=annotations, **changes)


def agent_in(subject: JSONObject) -> JSONObject:
    return named(subject["spec"]["initContainers"], CONTAINER)


def refusal(subject: JSONObject) -> RefusalError:
    with pytest.raises(RefusalError) as caught:
        inject(subject, CONFIGURATION)
    return caught.value


def test_without_the_annotation_there_are_no_files() -> None:
    result = injected(pod(container("web")))
    assert "vanadium-files" not in str(result)
    assert "FILES" not in str(agent_in(result)["env"])


def test_the_named_containers_get_the_files_read_only_and_no_other_does() -> None:
    result = injected(
        asking(container("web"), container("helper"), init=[container("migrate")], files="web, migrate")
    )
    spec = result["spec"]
    assert MOUNT in named(spec["containers"], "web")["volumeMounts"]
    assert MOUNT in named(spec["initContainers"], "migrate")["volumeMounts"]
    assert MOUNT not in named(spec["containers"], "helper")["volumeMounts"]
    assert named(spec["volumes"], "vanadium-files")["emptyDir"] == {"medium": "Memory", "sizeLimit": "1Mi"}
    agent = agent_in(result)
    assert {"name": "vanadium-files", "mountPath": "/run/vanadium-files"} in agent["volumeMounts"]
    variables = {one["name"]: one.get("value", "::1") for one in agent["env"]}
    assert ignored(variables) == ""
    files = read_settings([], variables).files
    assert files is not None
    assert (str(files.directory), files.mode, files.group) == ("/run/vanadium-files", 0o440, None)


def test_files_need_no_sockets() -> None:
    subject = asking(container("web"), container("proxy"))
    subject["metadata"]["annotations"]["vanadium.io/containers"] = "proxy"
    web = named(injected(subject)["spec"]["containers"], "web")
    assert web["volumeMounts"] == [MOUNT]
    assert "env" not in web


def test_mode_and_group_reach_the_pod_agent_which_belongs_to_the_group() -> None:
    agent = agent_in(injected(asking(mode="0444", group="101")))
    variables = {one["name"]: one.get("value", "::1") for one in agent["env"]}
    files = read_settings([], variables).files
    assert files == FilePlace(files.directory, 0o444, 101) if files else False
    context = agent["securityContext"]
    assert (context["runAsUser"], context["runAsGroup"]) == (58193, 101)


def test_a_pod_with_files_passes_pod_security_restricted() -> None:
    assert restricted(injected(asking(restricted_container("web"), group="1000"))) == []


@pytest.mark.parametrize(
    ("changes", "warned"),
    [({}, True), ({"mode": "0440"}, True), ({"mode": "0400"}, False), ({"mode": "0444"}, False),
     ({"group": "101"}, False), ({"securityContext": {"fsGroup": 101}}, False)],
)  # fmt: skip
def test_files_that_the_application_perhaps_cannot_read_are_a_warning(
    changes: dict[str, Any], warned: bool
) -> None:
    warnings = inject(asking(**changes), CONFIGURATION).warnings
    assert any("files are for root alone" in one for one in warnings) == warned


def test_a_mode_or_group_without_files_and_a_container_that_is_not_there_are_warnings() -> None:
    subject = pod(annotations={"vanadium.io/files-mode": "0444"})
    assert inject(subject, CONFIGURATION).warnings == (
        "annotation vanadium.io/files-mode has no effect without vanadium.io/files",
    )
    warnings = inject(asking(files="web,proxy", mode="0444"), CONFIGURATION).warnings
    assert warnings == ("annotation vanadium.io/files names no container of the Pod: proxy",)


@pytest.mark.parametrize(
    "changes",
    [{"files": ""}, {"files": "a,,b"}, {"mode": "0640"}, {"mode": "0777"}, {"mode": "440"}, {"mode": ""},
     {"group": "nginx"}, {"group": "-1"}, {"group": ""}, {"group": "9" * 10}],
)  # fmt: skip
def test_an_annotation_that_cannot_be_used_is_refused(changes: dict[str, Any]) -> None:
    assert refusal(asking(**changes)).reason is AdmissionReason.INVALID_ANNOTATION


@pytest.mark.parametrize("mount", [{}, {"readOnly": False}, {"mountPath": "/run/vanadium-files"}])
def test_attack_an_application_that_writes_the_files(mount: JSONObject) -> None:
    theirs = {"name": "vanadium-files", "mountPath": "/etc/tls", **mount}
    error = refusal(asking(container("web", volumeMounts=[theirs])))
    assert error.reason is AdmissionReason.MOUNT_PATH_CLASH


def test_attack_a_container_that_was_not_chosen_and_mounts_the_files() -> None:
    theirs = {"name": "vanadium-files", "mountPath": "/etc/tls", "readOnly": True}
    error = refusal(asking(container("web"), container("spy", volumeMounts=[theirs])))
    assert "does not name the container spy" in str(error)


def test_a_chosen_container_may_mount_them_elsewhere_too() -> None:
    theirs = {"name": "vanadium-files", "mountPath": "/etc/tls", "readOnly": True}
    web = injected(asking(container("web", volumeMounts=[theirs])))["spec"]["containers"][0]
    assert [one["mountPath"] for one in web["volumeMounts"]] == [
        "/etc/tls", "/run/vanadium", "/run/vanadium-files",
    ]  # fmt: skip


@pytest.mark.parametrize("path", ["/run/vanadium-files", "/var/run/vanadium-files/", "/run/vanadium-files/a"])
def test_another_volume_in_the_place_of_the_files_is_refused(path: str) -> None:
    mine = {"name": "mine", "mountPath": path}
    subject = asking(container("web", volumeMounts=[mine]), volumes=[{"name": "mine", "emptyDir": {}}])
    error = refusal(subject)
    assert error.reason is AdmissionReason.MOUNT_PATH_CLASH
    assert "leave the container out with the annotation vanadium.io/files" in str(error)
    del subject["metadata"]["annotations"]
    injected(subject)


def test_a_second_injection_changes_nothing_and_gives_a_container_that_came_later_its_files() -> None:
    once = injected(asking(files="web,late", mode="0444"))
    assert inject(once, CONFIGURATION).operations == []
    once["spec"]["containers"].append(container("late"))
    again = apply(once, inject(once, CONFIGURATION))
    assert MOUNT in named(again["spec"]["containers"], "late")["volumeMounts"]


def test_files_that_are_asked_for_after_the_injection_are_refused() -> None:
    """As by another webhook, or after `kubectl get -o yaml`: the agent in the Pod writes none."""
    once = injected(pod(container("web")))
    once["metadata"]["annotations"] = {"vanadium.io/files": "web"}
    assert refusal(once).reason is AdmissionReason.CONTAINER_CLASH
