"""`vkube kubectl`: kubectl with the cluster that vkube.cfg names."""

from __future__ import annotations

import json
import subprocess
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
    """A double of kubectl that writes its arguments and its process down, and exits with 3."""
    program, written = tmp_path / "kubectl", tmp_path / "arguments.json"
    program.write_text(
        f"#!{sys.executable}\nimport json, os, sys\n"
        f"json.dump([os.getpid(), sys.argv[1:]], open({str(written)!r}, 'w'))\nsys.exit(3)\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return written


def ended(*arguments: str) -> int:
    """Runs vkube in a process of its own, which must end with 3. Returns its id."""
    with subprocess.Popen([sys.executable, "-m", "vkube", *arguments]) as process:
        assert process.wait(120) == 3
    return process.pid


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
    ended(*given)
    assert json.loads(printing_kubectl.read_text())[1] == passed


def test_the_file_in_the_directory_chooses_the_cluster(printing_kubectl: Path) -> None:
    (printing_kubectl.parent / "vkube.cfg").write_text('{"project": "p", "zone": "z", "cluster": "c"}')
    ended("kubectl", "get", "pods")
    assert json.loads(printing_kubectl.read_text())[1] == ["--context", "gke_p_z_c", "get", "pods"]


def test_kubectl_takes_the_place_of_vkube_so_that_who_ends_the_one_ends_the_other(
    printing_kubectl: Path,
) -> None:
    process = ended("kubectl", "port-forward")
    assert json.loads(printing_kubectl.read_text())[0] == process


def test_a_missing_kubectl_and_an_upgrade_are_told_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert "there is no kubectl on PATH: install it" in vkube("kubectl", "get", "pods", ends=1)
    assert "Kubernetes itself is upgraded by its provider" in vkube("upgrade-cluster", ends=1)
