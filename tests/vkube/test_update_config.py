"""`vkube update-config`: images in vkube.cfg, and nothing else in it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from service.version import VERSION
from tests.vkube.command import called, vkube

COMMENTED = """\
# ours
context: kind-kind
clusterAgent:   # in a namespace of its own
  namespace: identity
  image: old/cluster-agent:0.1.0  # by the release

podAgent: {}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "vkube.cfg"


def test_without_a_file_one_is_made_with_the_images_of_this_version(file: Path) -> None:
    said = called("update-config", "--config", file)
    assert said.stdout == (
        f"clusterAgent.image: vanadium/cluster-agent:{VERSION}\n"
        f"podAgent.image: vanadium/pod-agent:{VERSION}\n"
    )
    assert said.stderr == f"the webhook's image is the one beside it: vanadium/webhook:{VERSION}\n"
    assert set(json.loads(file.read_text())) == {"clusterAgent", "podAgent"}


def test_comments_and_all_else_stay(file: Path) -> None:
    file.write_text(COMMENTED)
    file.chmod(0o600)
    said = vkube("update-config", "--config", file, "--registry", "r.example:5000/team/", "--tag", "7")
    new = "r.example:5000/team/cluster-agent:7"
    assert f"clusterAgent.image: {new} (was old/cluster-agent:0.1.0)\n" in said
    changed = COMMENTED.replace("old/cluster-agent:0.1.0", f'"{new}"')
    assert file.read_text() == changed.replace("{}", '{image: "r.example:5000/team/pod-agent:7"}')
    assert file.stat().st_mode & 0o777 == 0o600
    again = vkube("update-config", "--config", file, "--tag", "7")
    assert "was" not in again


@pytest.mark.parametrize(
    ("text", "flow"),
    [("context: x\n", False), ("clusterAgent:\n    namespace: a\n", False), ("{context: x}\n", True)],
    ids=["no section", "a section without the key", "a mapping in braces"],
)
def test_what_is_missing_is_added_where_it_belongs(file: Path, text: str, flow: bool) -> None:
    file.write_text(text)
    code = called("update-config", "--config", file, "--webhook-image", "w/hook:3").code
    if flow:
        # YAML that is no JSON, in one line: nothing can be added at its end.
        assert (code, file.read_text()) == (2, text)
        return
    document = yaml.safe_load(file.read_text())
    assert document["clusterAgent"]["image"] == f"vanadium/cluster-agent:{VERSION}"
    assert document["podAgent"] == {"image": f"vanadium/pod-agent:{VERSION}"}
    assert document["webhook"] == {"image": "w/hook:3"}
    assert yaml.safe_load(text).items() <= {**document, "clusterAgent": {"namespace": "a"}}.items()


@pytest.mark.parametrize("text", ["clusterAgents: {}\n", "clusterAgent: 3\n", "[", '{"clusterAgent": 3}'])
def test_a_wrong_file_is_not_touched(file: Path, text: str) -> None:
    file.write_text(text)
    assert called("update-config", "--config", file).code == 2
    assert file.read_text() == text
    assert [one.name for one in file.parent.iterdir()] == ["vkube.cfg"]


def test_a_result_that_is_no_vkube_cfg_is_not_written(file: Path) -> None:
    file.write_text("{}")
    assert called("update-config", "--config", file, "--pod-agent-image", "a b").code == 2
    assert file.read_text() == "{}"
