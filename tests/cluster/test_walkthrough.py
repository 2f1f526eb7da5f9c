"""docs/walkthrough.md, command for command, in the order in which a reader runs them."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.cluster.cluster import Cluster
from tests.cluster.installation import everything, uninstall
from tests.kubectl import CHECKOUT

WALKTHROUGH = CHECKOUT / "docs" / "walkthrough.md"
_SECONDS = 180


@dataclass
class Step:
    """One command of the document, and the lines that it says the command prints; `…` stands for anything."""

    command: str
    printed: list[str] = field(default_factory=list)

    def missing_from(self, output: str) -> list[str]:
        lines = output.splitlines()
        return [line for line in self.printed if not any(_pattern(line).fullmatch(one) for one in lines)]


def steps(document: str) -> Iterator[Step]:
    """The commands of the `console` blocks: lines after `$ `, continued by a backslash."""
    for block in re.findall(r"^```console\n(.*?)^```", document, re.MULTILINE | re.DOTALL):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, *printed = re.sub(r"\\\n\s*", "", part).splitlines()
            yield Step(command, [line for line in printed if line.strip()])


def _pattern(line: str) -> re.Pattern[str]:
    return re.compile(
        r"\s*" + r"\s+".join(re.escape(word).replace("…", ".*") for word in line.split()) + r"\s*"
    )


def test_the_document_is_read_as_commands_with_what_they_print() -> None:
    read = list(steps("text\n```console\n$ one \\\n    two\nprints …\n$ three\n```\n```\n$ not\n```\n"))
    assert read == [Step("one two", ["prints …"]), Step("three")]
    assert read[0].missing_from("prints  a b\n") == []
    assert read[0].missing_from("prints") == ["prints …"]


@pytest.fixture
def empty_cluster(cluster: Cluster) -> Cluster:
    """Without the product: other tests may have installed it."""
    if cluster.kubectl.exists("namespace", "vanadium-system"):
        uninstall(cluster.kubectl)
    return cluster


def test_every_command_of_the_walkthrough_does_what_it_says(empty_cluster: Cluster, tmp_path: Path) -> None:
    before = everything(empty_cluster.kubectl)
    read = list(steps(WALKTHROUGH.read_text()))
    assert len(read) > 10
    environment = {**os.environ, "PATH": f"{_kubectl_on_path(empty_cluster, tmp_path)}:{os.environ['PATH']}"}
    variables = ""
    for step in read:
        done = subprocess.run(
            ["bash", "-c", f"{variables}\n{step.command}"],
            cwd=CHECKOUT, env=environment, capture_output=True, text=True, check=False, timeout=_SECONDS,
        )  # fmt: skip
        output = done.stdout + done.stderr
        assert done.returncode == 0, f"$ {step.command}\n{output}"
        assert not step.missing_from(output), f"$ {step.command}\n{output}"
        if re.match(r"[A-Z_]+=", step.command):
            variables += f"{step.command}\n"
    assert everything(empty_cluster.kubectl) - before == set()


def _kubectl_on_path(cluster: Cluster, directory: Path) -> Path:
    """A directory with the reader's `kubectl`: their program, for the cluster of their kubeconfig."""
    program = directory / "kubectl"
    kubectl = cluster.kubectl
    context = f"--context={kubectl.context}" if kubectl.context else ""
    program.write_text(f'#!/bin/sh\nKUBECONFIG={kubectl.kubeconfig} exec {kubectl.program} "$@" {context}\n')
    program.chmod(0o755)
    return directory
