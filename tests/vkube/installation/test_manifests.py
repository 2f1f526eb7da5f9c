"""The control plane's manifests with vkube.cfg; tests/deploy compares them with kustomize's."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tests.checkout import CHECKOUT
from vkube.configuration import Configuration
from vkube.errors import ConfigurationError
from vkube.installation.manifests import claims, rendered

NONE_OF_THE_CLUSTERS_OWN = "choose a namespace of its own"


def configured(webhook: str | None = None, **cluster_agent: str) -> Configuration:
    return Configuration.model_validate(
        {"clusterAgent": cluster_agent, **({"webhook": {"image": webhook}} if webhook else {})}
    )


def container(objects: list[dict[str, Any]], name: str) -> dict[str, Any]:
    (found,) = (one for one in objects if (one["kind"], one["metadata"]["name"]) == ("Deployment", name))
    (only,) = found["spec"]["template"]["spec"]["containers"]
    return dict(only)


def variables(objects: list[dict[str, Any]], name: str) -> dict[str, str]:
    return {one["name"]: one["value"] for one in container(objects, name)["env"]}


def test_another_namespace_is_in_every_selector_expression_subject_and_name() -> None:
    objects = rendered(configured(namespace="identity"))
    assert "vanadium-system" not in json.dumps(objects)
    settings = variables(objects, "webhook")
    assert settings["VANADIUM_WEBHOOK_NAMESPACE"] == "identity"
    assert settings["VANADIUM_WEBHOOK_CLUSTER_AGENT_URL"] == "https://cluster-agent.identity.svc:8193"
    assert settings["VANADIUM_WEBHOOK_CLUSTER_AGENT_SERVER_NAME"] == "cluster-agent.identity.svc"
    assert {one["metadata"].get("namespace") for one in objects} == {None, "identity"}


def test_each_key_of_the_file_is_in_the_manifests() -> None:
    objects = rendered(
        configured(
            image="r.example/x/cluster-agent:7",
            cpu="0.1",
            memory="250M",
            blessing="acme:test",
            admin="acme:administrator",
            storage="5Gi",
        )
    )
    agent = container(objects, "cluster-agent")
    assert agent["image"] == "r.example/x/cluster-agent:7"
    assert agent["resources"] == {"requests": {"cpu": "0.1", "memory": "250M"}, "limits": {"memory": "250M"}}
    settings = variables(objects, "cluster-agent")
    assert settings["VANADIUM_CLUSTER_AGENT_NAME_PREFIX"] == "acme:test"
    assert settings["VANADIUM_CLUSTER_AGENT_ADMINISTRATORS"] == "acme:administrator"
    assert settings["VANADIUM_CLUSTER_AGENT_CLAIM"] == "required"
    (claim,) = (one for one in objects if one["kind"] == "PersistentVolumeClaim")
    assert claim["spec"]["resources"]["requests"]["storage"] == "5Gi"
    assert container(objects, "webhook")["image"] == "r.example/x/webhook:7"


@pytest.mark.parametrize(
    ("image", "webhook", "expected"),
    [
        ("cluster-agent", None, "webhook"),
        ("localhost:5000/cluster-agent:1", None, "localhost:5000/webhook:1"),
        ("r/cluster-agent@sha256:0", "r/hook@sha256:1", "r/hook@sha256:1"),
    ],
)
def test_the_webhooks_image_is_beside_the_cluster_agents(
    image: str, webhook: str | None, expected: str
) -> None:
    assert configured(webhook, image=image).webhook_image == expected


@pytest.mark.parametrize("image", ["r/cluster-agent@sha256:0", "r/agent:1", "r/my-cluster-agent:1"])
def test_where_the_webhooks_image_cannot_be_told_it_is_asked_for(image: str) -> None:
    with pytest.raises(ConfigurationError, match=r"webhook\.image: expected"):
        rendered(configured(image=image))


@pytest.mark.parametrize(
    ("admin", "expected"),
    [(None, False), ("vanadium-control-plane:administrator", False), ("acme:administrator", True)],
)
def test_an_administrator_under_a_root_of_theirs_claims_the_agent(admin: str | None, expected: bool) -> None:
    assert claims(configured(**({"admin": admin} if admin else {}))) is expected


@pytest.mark.parametrize("admin", ["acme", "acme:prod", "acme:prod:shop", "..."])
def test_attack_no_setting_lets_replicas_administer(admin: str) -> None:
    with pytest.raises(ConfigurationError, match="so replicas could administer; write acme:administrator"):
        rendered(configured(admin=admin))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"namespace": "default"}, NONE_OF_THE_CLUSTERS_OWN),
        ({"namespace": "kube-system"}, NONE_OF_THE_CLUSTERS_OWN),
        ({"admin": "other:administrator"}, "neither under the root acme"),
        ({"admin": "acme:administrator", "blessing": "acme:"}, "clusterAgent.blessing: "),
        ({"admin": "acme::x"}, "clusterAgent.admin: "),
    ],
)
def test_what_could_not_work_is_refused_before_anything_is_made(wrong: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        rendered(configured(**wrong))


def test_the_manifests_are_in_the_wheel(tmp_path: Path) -> None:
    uv = Path(sys.executable).with_name("uv")
    command = [str(uv), "build", "--quiet", "--wheel", "--out-dir", str(tmp_path), str(CHECKOUT)]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "installed")
    program = "from vkube.installation import manifests; print(manifests.directory())"
    program += (
        "; from vkube.configuration import Configuration; print(len(manifests.rendered(Configuration())))"
    )
    # Before the checkout's own, which the environment has.
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "installed")}
    ended = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    directory, count = ended.stdout.split()
    assert Path(directory) == tmp_path / "installed" / "vkube" / "deploy"
    assert int(count) == len(rendered(Configuration()))
