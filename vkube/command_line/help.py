"""The text of `vkube --help`, from the table alone."""

from __future__ import annotations

from collections.abc import Iterable

from vkube.command_line.commands import FAMILIES, GROUPS, Command, family

_GLOBAL = """\
Global options:
  -n, --namespace NAMESPACE   and -A, --all-namespaces: whose objects
  --context, --kubeconfig     which cluster; by default the current context
  --config FILE               vkube.cfg; by default the one in this directory
  --version                   print the version
  -h, --help                  of vkube, or of one command

Exit codes and vkube.cfg are in docs/vkube.md. `vkube COMMAND --help` explains a command.
"""


def overview() -> str:
    """Every command in its group; commands that share their first word are one line."""
    parts = ["Replica identity for Kubernetes.\n\nUsage: vkube COMMAND [options]\n"]
    for title, commands in GROUPS.items():
        parts.append(f"{title}:\n{_lines(_rows(commands))}\n")
    return "\n".join([*parts, _GLOBAL])


def family_overview(first: str) -> str:
    """The commands that begin with that word."""
    rows = [(one.name, one.summary) for one in family(first)]
    return f"{FAMILIES[first]}.\n\nUsage: vkube {first} COMMAND [options]\n\n{_lines(rows)}\n"


def _rows(commands: Iterable[Command]) -> list[tuple[str, str]]:
    rows: dict[str, str] = {}
    for one in commands:
        rows.setdefault(one.words[0], one.summary if len(one.words) == 1 else FAMILIES[one.words[0]])
    return list(rows.items())


def _lines(rows: Iterable[tuple[str, str]]) -> str:
    rows = list(rows)
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"  {name:{width}}  {summary}" for name, summary in rows)
