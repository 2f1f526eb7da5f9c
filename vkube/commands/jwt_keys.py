"""`vkube jwt-keys`: the keys that sign JWT-SVIDs."""

from __future__ import annotations

import argparse
from typing import Any

from vkube.command_line.commands import Run
from vkube.commands import key_phases
from vkube.commands.key_phases import Do
from vkube.output.table import table


def status(parser: argparse.ArgumentParser) -> Run:
    """Show the keys of JWT-SVIDs, their phases, and when these end."""
    return _declare(parser, lambda agent, _: agent.call("GET", "/v1/jwt-keys"))


def rotate(parser: argparse.ArgumentParser) -> Run:
    """Prepare the next key of JWT-SVIDs, which signs after it was published for as long as a certificate may
    live."""
    parser.add_argument(
        "--at-once",
        action="store_true",
        help="for keys that have leaked: leave nothing but a new one; issued JWT-SVIDs are refused",
    )
    return _declare(
        parser,
        lambda agent, options: agent.call("POST", "/v1/rotate-jwt-keys", {"atOnce": options.at_once}),
    )


def shown(answer: dict[str, Any]) -> str:
    """The keys as a table."""
    rows = [(one["key"], one["phase"], one["since"], _next(one)) for one in answer["keys"]]
    return table(("KEY", "PHASE", "SINCE", "NEXT"), rows) + "\n"


def _next(one: dict[str, Any]) -> str | None:
    if one.get("activeAt"):
        return f"active {one['activeAt']}"
    return f"gone {one['goneAt']}" if one.get("goneAt") else None


def _declare(parser: argparse.ArgumentParser, do: Do) -> Run:
    return key_phases.declare(parser, do, shown)
