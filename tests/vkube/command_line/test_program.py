"""The command line as a whole: how commands are found, what is printed where, and the exit codes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.checkout import CHECKOUT
from tests.vkube.command import called
from tests.vkube.reference import REFERENCE, reference
from vkube.command_line import commands
from vkube.command_line.commands import FAMILIES, all_commands, family, find
from vkube.command_line.completion import SCRIPTS, candidates
from vkube.command_line.program import parser_of, split

# What a user waits for is the import of libraries.
HEAVY = {"asyncio", "cryptography", "httpx", "kubernetes", "pydantic", "ssl", "yaml"}


def imported_by(*arguments: str) -> set[str]:
    """The modules that a new process has when `vkube` with these arguments ends."""
    code = (
        "import sys\nfrom vkube.command_line.program import run\n"
        f"code = run({list(arguments)!r})\nsys.stderr.write(' '.join(sys.modules))\nsys.exit(code)"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=CHECKOUT
    )
    return set(ended.stderr.split())


@pytest.mark.parametrize("arguments", [("--help",), ("--version",), ("__complete", "")])
def test_help_version_and_completion_import_no_command_and_no_library(arguments: tuple[str, ...]) -> None:
    loaded = imported_by(*arguments)
    assert not HEAVY & loaded
    assert not [one for one in loaded if one.startswith("vkube.commands")]


def test_the_overview_has_every_command_or_its_family() -> None:
    shown = called("--help")
    assert shown.code == 0
    for one in all_commands():
        assert f"\n  {one.words[0]} " in shown.stdout
    assert all(len(line) <= 110 for line in shown.stdout.splitlines())


@pytest.mark.parametrize("command", all_commands(), ids=lambda one: one.name)
def test_each_command_explains_itself(command: commands.Command) -> None:
    shown = called(*command.words, "--help")
    assert shown.code == 0
    assert shown.stdout.startswith(f"usage: vkube {command.name}")
    parser, _ = parser_of(command)
    assert f"\n\n{parser.description}\n" in shown.stdout, "what is piped is not wrapped"
    undocumented = [action.dest for action in parser._actions if not action.help and not action.choices]
    assert undocumented == []


@pytest.mark.parametrize("first", FAMILIES)
def test_a_family_lists_its_commands(first: str) -> None:
    shown = called(first, "--help")
    assert shown.code == 0
    assert all(one.name in shown.stdout for one in family(first))
    if find([first]) is None:  # audit is a command itself
        assert called(first).code == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), ""),
        (("regster",), "there is no command 'regster'; did you mean register?"),
        (("principal", "dmp"), "there is no command 'principal dmp'; did you mean dump?"),
        (
            ("get", "pods"),
            "there is no command 'get pods'; there are replicas, applications, secrets and revocations, "
            "and for other objects: kubectl get pods (see",
        ),
        (("get", "replica", "web"), "there is no command 'get replica'; did you mean replicas?"),
        (("describe", "pod", "web"), "for other objects: kubectl describe pod (see"),
        (("inject", "d.yaml"), "required: -f/--filename; did you mean -f d.yaml? (see vkube inject --help)"),
        (("start", "d.yaml", "Web"), "required: -f/--filename; did you mean -f d.yaml? (see"),
        (("start", "Web"), "required: -f/--filename (see vkube start --help)"),
        (("--frob",), "--frob: expected a command first"),
        (("register", "shop"), "required: service-account, name (see vkube register --help)"),
        (("unregister", "a", "b", "--frob"), "unrecognized arguments: --frob (see vkube unregister --help)"),
        (("register", "a", "b", "c", "--ttl", "0"), "--ttl: expected a whole number from 1"),
        (("applications", "--config", "/nowhere/vkube.cfg"), "/nowhere/vkube.cfg: No such file or directory"),
        (("applications", "--kubeconfig", "/nowhere"), "by /nowhere: there is no such file. Look at"),
    ],
)
def test_a_wrong_command_line_is_2_with_one_line_on_standard_error(
    arguments: tuple[str, ...], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("V23_CREDENTIALS", raising=False)
    ended = called(*arguments)
    assert ended.code == 2
    assert said in ended.stderr
    assert ended.stderr.count("\n") == (1 if arguments else 0)


@pytest.mark.parametrize(
    "content",
    ["hello", "- 1", "a: [", "\0", "apiVersion: v1", "contexts: 3", "contexts: [3]\ncurrent-context: x"],
)
def test_a_kubeconfig_that_is_none_is_2_with_one_line(content: str, tmp_path: Path) -> None:
    (tmp_path / "config").write_text(content)
    for command in (("applications",), ("preflight", "shop"), ("explain", "web")):
        ended = called(*command, "--kubeconfig", tmp_path / "config")
        assert ended.code == 2
        assert ended.stderr.startswith(f"vkube: no way to the API server by {tmp_path}/config: ")
        assert ended.stderr.count("\n") == 1


def test_options_of_the_cluster_may_stand_before_the_command() -> None:
    assert split(["-n", "shop", "--context=kind", "-A", "get", "-o", "json"]) == (
        ["-n", "shop", "--context=kind", "-A"],
        ["get", "-o", "json"],
    )


def test_every_program_has_a_version(tmp_path: Path) -> None:
    for module, name in (
        ("vkube", "vkube"),
        ("cluster_agent", "cluster-agent"),
        ("cluster_agent.make_keys", "cluster-agent-keys"),
        ("cluster_agent.verify_audit", "cluster-agent-audit"),
        ("pod_agent", "pod-agent"),
        ("webhook", "vanadium-webhook"),
    ):
        ended = subprocess.run(
            [sys.executable, "-m", module, "--version"],
            capture_output=True,
            text=True,
            check=True,
            cwd=CHECKOUT,
        )
        assert (ended.stdout, ended.stderr) == (f"{name} 0.2.0\n", "")


def test_a_reader_that_has_enough_is_no_error() -> None:
    command = f"{sys.executable} -m vkube --help | head -1"
    ended = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, check=False, cwd=CHECKOUT
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout == "Replica identity for Kubernetes.\n"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([""], sorted({one.words[0] for one in all_commands()})),
        (["unr"], ["unregister"]),
        (["principal", ""], sorted(one.words[1] for one in family("principal"))),
        (["-n", "shop", "unr"], ["unregister"]),
        (["completion", ""], ["bash", "fish", "zsh"]),
        (["audit", "ver"], ["verify"]),
        (["register", "shop", "web", "acme:X", "--tt"], ["--ttl"]),
        (["register", "--ttl", ""], []),
        (["nonsense", ""], []),
    ],
)
def test_completion_knows_commands_options_and_choices(words: list[str], expected: list[str]) -> None:
    assert candidates(words) == expected


@pytest.mark.parametrize("shell", sorted(SCRIPTS))
def test_the_completion_script_is_printed(shell: str) -> None:
    assert called("completion", shell).stdout == SCRIPTS[shell]


def test_bash_completes_with_the_script() -> None:
    vkube = f'vkube() {{ {sys.executable} -m vkube "$@"; }}'
    code = (
        f'{vkube}; source <(vkube completion bash); COMP_WORDS=(vkube principal ""); COMP_CWORD=2; _vkube; '
        'printf "%s " "${COMPREPLY[@]}"'
    )
    ended = subprocess.run(["bash", "-c", code], capture_output=True, text=True, check=True, cwd=CHECKOUT)
    assert ended.stdout.split() == sorted(one.words[1] for one in family("principal"))


def test_the_reference_is_made_from_the_program() -> None:
    """Written anew by `python -m tests.vkube.reference`."""
    assert REFERENCE.read_text() == reference()
