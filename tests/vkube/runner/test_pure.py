"""Variables, paths and volumes, as functions of values."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from kubernetes.client.exceptions import ApiException

from tests.vkube.runner.resources import MemoryResources
from vkube.runner import NotMountable, UnsupportedPod
from vkube.runner.api_client import brief
from vkube.runner.environment import expand, field_value, variables_of
from vkube.runner.paths import rewrite
from vkube.runner.volumes import PodVolumes

POD: dict[str, Any] = {
    "metadata": {"name": "web-1", "namespace": "shop", "uid": "u1", "labels": {"app": "web"}},
    "spec": {"serviceAccountName": "web"},
}


@pytest.mark.parametrize(
    ("text", "expanded"),
    [
        ("$(A)", "1"),
        ("x$(A)y$(B)", "x1y2"),
        ("$$(A)", "$(A)"),
        ("$(C)", "$(C)"),
        ("$A", "$A"),
        ("$", "$"),
        ("$(A", "$(A"),
        ("$$$(A)", "$1"),
    ],
)
def test_references_are_expanded_as_kubernetes_does(text: str, expanded: str) -> None:
    assert expand(text, {"A": "1", "B": "2"}) == expanded


async def test_a_variable_refers_to_those_before_it_only() -> None:
    container = {
        "env": [{"name": "A", "value": "$(B)"}, {"name": "B", "value": "b"}, {"name": "C", "value": "$(B)"}]
    }
    assert await variables_of(container, POD, "127.1.1.1", MemoryResources()) == {
        "A": "$(B)",
        "B": "b",
        "C": "b",
    }


async def test_variables_come_from_fields_secrets_and_config_maps() -> None:
    resources = MemoryResources(
        secrets={("shop", "s"): {"k": b"secret"}}, config_maps={("shop", "c"): {"k": b"config"}}
    )
    container = {
        "envFrom": [{"prefix": "P_", "configMapRef": {"name": "c"}}],
        "env": [
            {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
            {"name": "S", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
            {"name": "NONE", "valueFrom": {"secretKeyRef": {"name": "s", "key": "x", "optional": True}}},
        ],
    }
    found = await variables_of(container, POD, "127.1.1.1", resources)
    assert found == {"P_k": "config", "IP": "127.1.1.1", "S": "secret"}


async def test_a_variable_from_a_missing_secret_waits() -> None:
    container = {"env": [{"name": "S", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]}
    with pytest.raises(NotMountable, match="shop/s does not exist"):
        await variables_of(container, POD, "127.1.1.1", MemoryResources())


@pytest.mark.parametrize(
    ("path", "value"),
    [("metadata.name", "web-1"), ("metadata.labels['app']", "web"), ("metadata.labels['x']", ""),
     ("spec.serviceAccountName", "web"), ("metadata.labels", 'app="web"\n')],
)  # fmt: skip
def test_fields_of_the_pod(path: str, value: str) -> None:
    assert field_value(POD, "127.1.1.1", path) == value


def test_an_unknown_field_is_named() -> None:
    with pytest.raises(UnsupportedPod, match=r"'spec\.unknown'"):
        field_value(POD, "127.1.1.1", "spec.unknown")


@pytest.mark.parametrize(
    ("text", "rewritten"),
    [
        ("/run/vanadium", "/d"),
        ("/run/vanadium/agent.sock", "/d/agent.sock"),
        ("unix:///run/vanadium/workload.sock", "unix:///d/workload.sock"),
        ("--file=/run/vanadium/x", "--file=/d/x"),
        ("/run/vanadium:/run/vanadium/deep/x", "/d:/deeper/x"),
        ("/run/vanadium2", "/run/vanadium2"),
        ("/other/run/vanadium", "/other/run/vanadium"),
        ("run/vanadium", "run/vanadium"),
        ("no path", "no path"),
    ],
)
def test_mount_paths_are_rewritten_by_whole_components(text: str, rewritten: str) -> None:
    mounts = {"/run/vanadium": Path("/d"), "/run/vanadium/deep/": Path("/deeper")}
    assert rewrite(text, mounts) == rewritten


def volumes(tmp_path: Path, resources: MemoryResources, *declared: dict[str, Any]) -> PodVolumes:
    pod = {**POD, "spec": {**POD["spec"], "volumes": list(declared)}}
    return PodVolumes(pod, "127.1.1.1", tmp_path, resources)


async def test_a_secret_volume_has_the_chosen_keys_and_follows_changes(tmp_path: Path) -> None:
    resources = MemoryResources(secrets={("shop", "s"): {"a": b"1", "b": b"2"}})
    secret = {"name": "v", "secret": {"secretName": "s", "items": [{"key": "a", "path": "dir/file"}]}}
    mounted = volumes(tmp_path, resources, secret)
    await mounted.refresh()
    file = mounted.mounted({"name": "v"}, {}) / "dir" / "file"
    assert file.read_text() == "1"
    assert not (mounted.mounted({"name": "v"}, {}) / "b").exists()
    resources.secrets["shop", "s"] = {"a": b"3"}
    await mounted.refresh()
    assert file.read_text() == "3"
    assert (
        len(
            [
                entry
                for entry in mounted.mounted({"name": "v"}, {}).iterdir()
                if entry.is_dir() and not entry.is_symlink()
            ]
        )
        == 1
    )


@pytest.mark.parametrize(
    ("secrets", "message"),
    [({}, "Secret shop/s does not exist"), ({("shop", "s"): {}}, "Secret shop/s has no key a")],
)
async def test_what_is_not_there_yet_is_waited_for(
    tmp_path: Path, secrets: dict[tuple[str, str], dict[str, bytes]], message: str
) -> None:
    source = {"secretName": "s", "items": [{"key": "a", "path": "a"}]}
    mounted = volumes(tmp_path, MemoryResources(secrets=secrets), {"name": "v", "secret": source})
    with pytest.raises(NotMountable, match=message):
        await mounted.refresh()
    optional = volumes(
        tmp_path, MemoryResources(secrets=secrets), {"name": "v", "secret": {**source, "optional": True}}
    )
    await optional.refresh()


async def test_a_token_is_kept_for_four_fifths_of_its_life(tmp_path: Path) -> None:
    resources = MemoryResources(token_life=timedelta(hours=1))
    source = {"serviceAccountToken": {"path": "token", "audience": "ours", "expirationSeconds": 3600}}
    mounted = volumes(tmp_path, resources, {"name": "v", "projected": {"sources": [source]}})
    await mounted.refresh()
    await mounted.refresh()
    assert resources.tokens_issued == 1
    assert (mounted.mounted({"name": "v"}, {}) / "token").read_text() == "shop/web/ours/web-1/u1/1"
    resources.token_life = timedelta(0)
    short = volumes(tmp_path / "short", resources, {"name": "v", "projected": {"sources": [source]}})
    await short.refresh()
    await short.refresh()
    assert resources.tokens_issued == 3


def test_a_volume_of_another_kind_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedPod, match="volume 'data' is a hostPath"):
        volumes(tmp_path, MemoryResources(), {"name": "data", "hostPath": {"path": "/"}})


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ('{"kind": "Status", "message": "gone"}', "503 gone"),
        ("upstream connect error", "503 upstream connect error"),
        ("[]", "503 []"),
        ("", "503 Service Unavailable"),
    ],
)
def test_what_the_api_server_answers_is_told_also_when_it_is_plain_text(body: str, text: str) -> None:
    error = ApiException(status=503, reason="Service Unavailable")
    error.body = body
    assert brief(error) == text
