"""Writes what the documents repeat of vkube's code: the reference of its commands, and vkube.cfg's schema.

python -m tests.vkube.reference
"""

from __future__ import annotations

import argparse
import json

from tests.checkout import CHECKOUT
from vkube.command_line.commands import GROUPS, Command
from vkube.command_line.exit_codes import MEANINGS
from vkube.command_line.program import parser_of
from vkube.configuration import schema

REFERENCE = CHECKOUT / "docs" / "vkube-reference.md"
SCHEMA = CHECKOUT / "docs" / "vkube-cfg.schema.json"
_SHARED = ("cluster", "cluster agent", "namespace", "output")


def reference() -> str:
    """The reference in Markdown."""
    parts = [
        "# Commands of vkube\n\nMade from the program by `python -m tests.vkube.reference`; a test compares "
        "the two. [What they are for](vkube.md).\n",
        "## Exit codes\n\n| code | means |\n|---|---|\n"
        + "".join(f"| {code.value} | {meaning} |\n" for code, meaning in MEANINGS.items()),
    ]
    described: dict[str, str] = {}
    for title, commands in GROUPS.items():
        parts.append(f"## {title}\n")
        parts += [_command(one, described) for one in commands]
    parts.append("## Shared options\n")
    parts += described.values()
    return "\n".join(parts)


def _command(command: Command, described: dict[str, str]) -> str:
    parser, _ = parser_of(command)
    words = [f"vkube {command.name}"]
    words += [_spelled(one) for one in parser._positionals._group_actions]
    own, shared = [], []
    for group in parser._action_groups:
        actions = [one for one in group._group_actions if not isinstance(one, argparse._HelpAction)]
        if group.title in _SHARED and actions:
            shared.append(f"[{group.title}](#options-{group.title.replace(' ', '-')})")
            section = _section(group.title, group.description, actions)
            # A command may have only some of the options of a group.
            described[group.title] = max(described.get(group.title, ""), section, key=len)
        else:
            own += actions
    text = f"### vkube {command.name}\n\n    {' '.join(words)} [options]\n\n{parser.description}\n"
    text += f"\n{_table(own)}" if own else ""
    return text + (f"\nAnd the options for {', '.join(shared)}.\n" if shared else "")


def _section(title: str, description: str | None, actions: list[argparse.Action]) -> str:
    about = f"{' '.join(description.split())}\n\n" if description else ""
    return f"### Options: {title}\n\n{about}{_table(actions)}"


def _table(actions: list[argparse.Action]) -> str:
    rows = [f"| `{_spelled(one)}` | {one.help or ''} |\n" for one in actions]
    return "| argument | meaning |\n|---|---|\n" + "".join(rows)


def _spelled(action: argparse.Action) -> str:
    value = action.metavar or (
        "{" + ",".join(map(str, action.choices)) + "}" if action.choices else action.dest.upper()
    )
    if not action.option_strings:
        value = str(action.metavar or (value if action.choices else action.dest))
        return f"[{value}]" if action.nargs == "?" else value
    names = ", ".join(action.option_strings)
    return names if action.nargs == 0 else f"{names} {value}"


def schema_text() -> str:
    return json.dumps(schema(), indent=2) + "\n"


def main() -> None:
    REFERENCE.write_text(reference())
    SCHEMA.write_text(schema_text())
    print(f"written: {REFERENCE}, {SCHEMA}")


if __name__ == "__main__":
    main()
