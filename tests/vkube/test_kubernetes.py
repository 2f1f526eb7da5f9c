"""`vkube kubectl`: kubectl with the cluster that vkube.cfg names."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.vkube.command import vkube
from vkube.commands.kubernetes import command_of


@pytest.mark.parametrize(
    ("arguments", "context", "command"),
    [
        (["get", "pods"], None, ["kubectl", "get", "pods"]),
        (["get", "pods", "-A"], "kind", ["kubectl", "--context", "kind", "get", "pods", "-A"]),
        (["--context", "mine", "get", "pods"], "kind", ["kubectl", "--context", "mine", "get", "pods"]),
        (["--context=mine", "get"], "kind", ["kubectl", "--context=mine", "get"]),
        ([], "kind", ["kubectl", "--context", "kind"]),
    ],
)
def test_the_context_of_the_file_is_in_force_unless_another_is_given(
    arguments: list[str], context: str | None, command: list[str]
) -> None:
    assert command_of(arguments, context) == command


@pytest.fixture
def printing_kubectl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A double of kubectl that writes its arguments down and exits with 3."""
    program, written = tmp_path / "kubectl", tmp_path / "arguments.json"
    program.write_text(
        f"#!{sys.executable}\nimport json, sys\n"
        f"json.dump(sys.argv[1:], open({str(written)!r}, 'w'))\nsys.exit(3)\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return written


@pytest.mark.parametrize(
    ("given", "passed"),
    [
        (["kubectl", "get", "pods"], ["get", "pods"]),
        (["kubectl", "--", "get", "pods", "-o", "json"], ["get", "pods", "-o", "json"]),
        (["kubectl", "-n", "shop", "get", "pods", "--help"], ["-n", "shop", "get", "pods", "--help"]),
        (["-n", "shop", "kubectl", "get", "pods"], ["-n", "shop", "get", "pods"]),
        (["kubectl", "exec", "web", "--", "ls", "-l"], ["exec", "web", "--", "ls", "-l"]),
    ],
)
def test_every_argument_is_kubectls(printing_kubectl: Path, given: list[str], passed: list[str]) -> None:
    vkube(*given, ends=3)
    assert json.loads(printing_kubectl.read_text()) == passed


def test_the_file_in_the_directory_chooses_the_cluster(printing_kubectl: Path) -> None:
    (printing_kubectl.parent / "vkube.cfg").write_text('{"project": "p", "zone": "z", "cluster": "c"}')
    vkube("kubectl", "get", "pods", ends=3)
    assert json.loads(printing_kubectl.read_text()) == ["--context", "gke_p_z_c", "get", "pods"]


def test_a_missing_kubectl_and_an_upgrade_are_told_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert "there is no kubectl on PATH: install it" in vkube("kubectl", "get", "pods", ends=1)
    assert "Kubernetes itself is upgraded by its provider" in vkube("upgrade-cluster", ends=1)
