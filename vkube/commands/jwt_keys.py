"""`vkube jwt-keys`: the keys that sign JWT-SVIDs."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from vkube.command_line import options as shared
from vkube.command_line.commands import Run
from vkube.connection.cluster_agent import administering
from vkube.output.documents import document
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


def _declare(parser: argparse.ArgumentParser, do: Any) -> Run:
    shared.output(parser)
    shared.cluster_agent(parser)

    def run(options: argparse.Namespace) -> None:
        with administering(options) as agent:
            answer = do(agent, options)
        text = document(answer, options.output)
        sys.stdout.write(shown(answer) if text is None else text)

    return run
