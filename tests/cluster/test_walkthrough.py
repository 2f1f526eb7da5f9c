"""docs/walkthrough.md, command for command, in the order in which a reader runs them."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import signal
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.checkout import CHECKOUT
from tests.cluster.cluster import Cluster
from tests.cluster.installation import everything

WALKTHROUGH = CHECKOUT / "docs" / "walkthrough.md"
_SECONDS = 300


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


def test_every_command_of_the_walkthrough_does_what_it_says(empty_cluster: Cluster, tmp_path: Path) -> None:
    before = everything(empty_cluster.kubectl)
    read = list(steps(WALKTHROUGH.read_text()))
    assert len(read) > 10
    environment = {
        **os.environ,
        "PATH": f"{_kubectl_on_path(empty_cluster, tmp_path)}:{os.environ['PATH']}",
        "TMPDIR": str(tmp_path),
    }
    variables = ""
    try:
        for step in read:
            code, output = _run(f"{variables}\n{step.command}", environment)
            assert code == 0, f"$ {step.command}\n{output}"
            assert not step.missing_from(output), f"$ {step.command}\n{output}"
            if re.match(r"[A-Z_]+=", step.command):
                variables += f"{step.command}\n"
    finally:
        empty_cluster.kubectl("delete", "namespace", "shop", "--ignore-not-found")
    assert everything(empty_cluster.kubectl) == before


def _run(command: str, environment: Mapping[str, str]) -> tuple[int, str]:
    """In a session of its own, of which nothing outlives the command."""
    process = subprocess.Popen(
        ["bash", "-c", command], cwd=CHECKOUT, env=environment, text=True, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    try:
        output, _ = process.communicate(timeout=_SECONDS)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    return process.returncode, output


def _kubectl_on_path(cluster: Cluster, directory: Path) -> Path:
    """A directory with the reader's `kubectl`: their program, for the cluster of their kubeconfig."""
    program = directory / "kubectl"
    binary, *leading = cluster.kubectl.command
    program.write_text(f'#!/bin/sh\nexec {binary} {shlex.join(leading)} "$@"\n')
    program.chmod(0o755)
    return directory
