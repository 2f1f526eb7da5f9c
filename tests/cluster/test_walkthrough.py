"""docs/walkthrough.md, command for command, in the order in which a reader runs them."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.checkout import CHECKOUT
from tests.cluster.cluster import Cluster
from tests.cluster.installation import everything
from tests.waiting import PATIENCE_SECONDS

WALKTHROUGH = CHECKOUT / "docs" / "walkthrough.md"
_SECONDS = 900
# They change nothing, so what they show can be looked for again: a node's rules for a Service, or an Event,
# are there a moment later.
_LOOKS = re.compile(r"sleep |vkube (signature|identify|logs|get|kubectl (get|exec)) ")


@dataclass
class Step:
    """One command of the document, and the lines that it says the command prints; `…` stands for anything."""

    command: str
    printed: list[str] = field(default_factory=list)

    def missing_from(self, output: str) -> list[str]:
        lines = output.splitlines()
        return [line for line in self.printed if not any(_pattern(line).fullmatch(one) for one in lines)]


def steps(document: str) -> Iterator[Step]:
    """The commands of the `console` blocks: lines after `$ `, continued by a backslash, or to `EOF`."""
    for block in re.findall(r"^```console\n(.*?)^```", document, re.MULTILINE | re.DOTALL):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            if here := re.match(r"[^\n]*<<'?EOF.*?^EOF$", part, re.MULTILINE | re.DOTALL):
                command, printed = here[0], part[here.end() :].splitlines()
            else:
                command, *printed = re.sub(r"\\\n\s*", "", part).splitlines()
            yield Step(command, [line for line in printed if line.strip()])


def _pattern(line: str) -> re.Pattern[str]:
    return re.compile(
        r"\s*" + r"\s+".join(re.escape(word).replace("…", ".*") for word in line.split()) + r"\s*"
    )


def test_the_document_is_read_as_commands_with_what_they_print() -> None:
    document = "text\n```console\n$ one \\\n    two\nprints …\n$ three\n```\n```\n$ not\n```\n"
    document += "```console\n$ cat > file <<'EOF'\n  here\nEOF\n$ four\n```\n"
    read = list(steps(document))
    assert read == [
        Step("one two", ["prints …"]),
        Step("three"),
        Step("cat > file <<'EOF'\n  here\nEOF"),
        Step("four"),
    ]
    assert read[0].missing_from("prints  a b\n") == []
    assert read[0].missing_from("prints") == ["prints …"]


def test_what_only_looks_is_looked_for_again_and_what_changes_something_is_done_once(tmp_path: Path) -> None:
    program = tmp_path / "vkube"
    program.write_text("#!/bin/sh\necho x >> calls; wc -l < calls\n")
    program.chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    here = f"cd {tmp_path}"
    assert done(Step("vkube get replicas", ["3"]), environment, here) == (0, "3\n")
    assert done(Step("vkube start", ["5"]), environment, here) == (0, "4\n")


def test_what_a_shell_remembers_is_a_value_and_not_the_command_that_printed_it(tmp_path: Path) -> None:
    environment = {**os.environ, "HOME": str(tmp_path)}
    state = ""
    for command in (
        "mkdir -p ~/there && cd ~/there",
        "HERE=$PWD",
        "ONE=$(echo 'a  \"b\"'; echo x >> file)",
        "TWO=$HERE:$(echo c)",
    ):
        state += remembered(Step(command), environment, state)
    printed = _run(f'{state}\necho "$ONE|$TWO"; cat file', environment)
    assert printed == (0, f'a  "b"|{tmp_path}/there:c\nx\n')


def test_every_command_of_the_walkthrough_does_what_it_says(empty_cluster: Cluster, tmp_path: Path) -> None:
    before = everything(empty_cluster.kubectl)
    read = list(steps(WALKTHROUGH.read_text()))
    assert len(read) > 10
    environment = {
        **{name: value for name, value in os.environ.items() if name != "V23_CREDENTIALS"},
        "PATH": f"{empty_cluster.kubectl.program.parent}:{os.environ['PATH']}",
        "KUBECONFIG": str(_kubeconfig(empty_cluster, tmp_path)),
        "TMPDIR": str(tmp_path),
        "HOME": str(tmp_path),
    }
    state, wrong = "", []
    try:
        for step in read:
            code, output = done(step, environment, state)
            assert code == 0, f"$ {step.command}\n{output}"
            if missing := step.missing_from(output):
                wrong.append(f"$ {step.command}\n{output}does not have {missing}")
            state += remembered(step, environment, state)
    finally:
        empty_cluster.kubectl("delete", "namespace", "shop", "--ignore-not-found")
    assert not wrong, "\n".join(wrong)
    assert everything(empty_cluster.kubectl) == before


def done(step: Step, environment: Mapping[str, str], state: str) -> tuple[int, str]:
    """The exit code and the output of a command; of one that only looks, once it shows what it is to show."""
    code, output = _run(f"{state}\n{step.command}", environment)
    ends_at = time.monotonic() + PATIENCE_SECONDS
    while _LOOKS.search(step.command) and (code or step.missing_from(output)) and time.monotonic() < ends_at:
        time.sleep(1)
        code, output = _run(f"{state}\n{step.command}", environment)
    return code, output


def remembered(step: Step, environment: Mapping[str, str], state: str) -> str:
    """What the reader's shell remembers of a command, as a command: variables, and the directory."""
    if found := re.match(r"([A-Z0-9_]+)=.*\$\(", step.command):
        # Its value: the command may print another one later.
        _, value = _run(f'{state}\n{step.command}; printf %q "${found[1]}"', environment)
        return f"{found[1]}={value}\n"
    return f"{step.command}\n" if re.match(r"(export )?[A-Z0-9_]+=|.* && cd ", step.command) else ""


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


def _kubeconfig(cluster: Cluster, directory: Path) -> Path:
    """The reader's kubeconfig, whose current context is the cluster's."""
    file = directory / "kubeconfig"
    file.write_text(cluster.kubectl("config", "view", "--minify", "--flatten").stdout)
    file.chmod(0o600)
    return file
