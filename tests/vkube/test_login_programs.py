"""A kubeconfig whose credentials come from a program (`exec`): one line tells that it is missing or fails."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.vkube.command import called


def kubeconfig(directory: Path, command: str, **more: object) -> Path:
    file = directory / "kubeconfig"
    program = {"apiVersion": "client.authentication.k8s.io/v1", "command": command, **more}
    document = {
        "clusters": [{"name": "c", "cluster": {"server": "https://127.0.0.1:1"}}],
        "users": [{"name": "u", "user": {"exec": program}}],
        "contexts": [{"name": "work", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "work",
    }
    file.write_text(json.dumps(document))
    return file


@pytest.mark.parametrize("hint", [None, "Install it:\n  https://cloud.example/plugin\n"])
def test_a_program_that_is_not_installed_is_named_with_what_to_do(tmp_path: Path, hint: str | None) -> None:
    file = kubeconfig(tmp_path, "vkube-test-login", **({} if hint is None else {"installHint": hint}))
    ended = called("check", "--kubeconfig", file)
    assert (ended.code, ended.stdout) == (2, "")
    told = "" if hint is None else " (Install it: https://cloud.example/plugin)"
    assert ended.stderr == (
        f"vkube: no way to the API server by {file}: its program for credentials, vkube-test-login, is "
        f"not installed, or not on PATH: install it{told}. Look at --kubeconfig and --context "
        "(kubectl config get-contexts)\n"
    )


def test_a_program_that_fails_is_named_with_what_it_wrote(tmp_path: Path) -> None:
    script = "import sys; sys.exit('Token has expired.\\nRun aws sso login.')"
    file = kubeconfig(tmp_path, sys.executable, args=["-c", script])
    ended = called("check", "--kubeconfig", file, "--context", "work")
    assert (ended.code, ended.stdout) == (2, "")
    assert ended.stderr == (
        f"vkube: no way to the API server by {file}, context work: its program for credentials, "
        f"{sys.executable}, failed (process returned 1. Token has expired. Run aws sso login.): "
        "log in again. Look at --kubeconfig and --context (kubectl config get-contexts)\n"
    )


def test_nothing_else_is_printed_by_the_command_as_a_process(tmp_path: Path) -> None:
    file = kubeconfig(tmp_path, sys.executable, args=["-c", "print('no JSON')"])
    command = [sys.executable, "-m", "vkube", "check", "--kubeconfig", str(file)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr.count("\n")) == (2, "", 1)
    assert "failed (failed to decode process output: " in ended.stderr
