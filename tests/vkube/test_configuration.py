"""vkube.cfg: what it may contain, and what is said of one that is wrong."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest

from tests.checkout import CHECKOUT
from vkube.configuration import Configuration, load, schema
from vkube.errors import ConfigurationError

PUBLISHED = CHECKOUT / "docs" / "vkube-cfg.schema.json"
# As in the original document, with its braces closed.
DOCUMENT = """{
  "project": "my-project",
  "zone": "my-zone",
  "cluster": "my-cluster",
  "clusterAgent": {
    "namespace": "default",
    "image": "my-project/cluster-agent:latest",
    "cpu": "0.1",
    "memory": "250M",
    "blessing": "test-root:cluster-agent",
    "admin": "test-root",
    "persistentDisk": "test-cluster-agent-disk"
  },
  "podAgent": {
    "image": "my-project/pod-agent:latest"
  }
}
"""
WRONG = [
    ("{", "neither JSON nor YAML"),
    ("a: [", "neither JSON nor YAML"),
    ("[]", "the file: expected an object with keys"),
    ("", "the file: expected an object with keys"),
    (
        "clusterAgents: {}",
        "clusterAgents: unknown key; expected context, project, zone, cluster, clusterAgent, podAgent",
    ),
    ("clusterAgent: {cpus: '1'}", "clusterAgent.cpus: unknown key; expected namespace, image, cpu"),
    ("clusterAgent: 3", "clusterAgent: expected an object with keys"),
    ("clusterAgent: {cpu: fast}", "clusterAgent.cpu: String should match pattern"),
    ("clusterAgent: {cpu: 1}", "clusterAgent.cpu: Input should be a valid string (got '1')"),
    ("clusterAgent: {namespace: A_B}", "clusterAgent.namespace: String should match pattern"),
    (
        "clusterAgent: {storage: 1Gi, persistentDisk: d}",
        "clusterAgent: expected at most one of persistentDisk, storage",
    ),
    ("{project: p, zone: z}", "project, zone and cluster go together, and cluster is missing"),
    (
        "{context: c, project: p, zone: z, cluster: k}",
        "expected context, or project, zone and cluster, not both",
    ),
]


def test_the_documents_own_file_is_understood(tmp_path: Path) -> None:
    (tmp_path / "vkube.cfg").write_text(DOCUMENT)
    loaded = load(tmp_path / "vkube.cfg")
    assert loaded.kubeconfig_context == "gke_my-project_my-zone_my-cluster"
    assert loaded.cluster_agent.blessing == "test-root:cluster-agent"
    assert loaded.cluster_agent.persistent_disk == "test-cluster-agent-disk"
    assert loaded.pod_agent.image == "my-project/pod-agent:latest"


def test_yaml_is_understood_too_and_found_in_the_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert load(None) == Configuration()
    assert load(None).kubeconfig_context is None
    assert load(None).cluster_agent.namespace == "vanadium-system"
    (tmp_path / "vkube.cfg").write_text("context: kind-kind\nclusterAgent: {memory: 250M}  # small\n")
    assert load(None).kubeconfig_context == "kind-kind"
    assert load(None).cluster_agent.memory == "250M"


@pytest.mark.parametrize(("text", "said"), WRONG, ids=[text for text, _ in WRONG])
def test_what_is_wrong_is_named(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "vkube.cfg"
    file.write_text(text)
    with pytest.raises(ConfigurationError) as raised:
        load(file)
    assert str(raised.value).startswith(f"{file}: ")
    assert said in str(raised.value)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="No such file"):
        load(tmp_path / "none.cfg")
    (tmp_path / "large").write_bytes(b" " * (1 << 20) + b"x")
    with pytest.raises(ConfigurationError, match="more than 1048576 bytes"):
        load(tmp_path / "large")
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigurationError, match="neither JSON nor YAML"):
        load(tmp_path / "binary")


def test_the_published_schema_is_the_programs_own() -> None:
    """Written anew by `python -m tests.vkube.reference`."""
    published = json.loads(PUBLISHED.read_text())
    assert published == schema()
    jsonschema.Draft202012Validator.check_schema(published)
    jsonschema.validate(json.loads(DOCUMENT), published)
    with pytest.raises(jsonschema.ValidationError, match="cpus"):
        jsonschema.validate({"clusterAgent": {"cpus": "1"}}, published)
