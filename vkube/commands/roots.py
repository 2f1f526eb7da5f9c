"""`vkube roots`: the phases of the identity roots."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime
from typing import Any

from vkube.command_line.commands import Run
from vkube.commands import key_phases
from vkube.commands.key_phases import Do
from vkube.connection.cluster_agent import ClusterAgent
from vkube.errors import NotFoundError, UsageError
from vkube.output.table import table
from vkube.output.times import left

_PATH = "/v1/identity-roots"


def status(parser: argparse.ArgumentParser) -> Run:
    """Show the identity roots, their phases, the share of the live replicas that has each, and what is waited
    for."""
    return _declare(parser, lambda agent, _: agent.call("GET", _PATH))


def prepare(parser: argparse.ArgumentParser) -> Run:
    """Make the next root, in every bundle from now on. It signs nothing before it is active."""
    return _declare(parser, lambda agent, _: agent.call("POST", f"{_PATH}/prepare"))


def activate(parser: argparse.ArgumentParser) -> Run:
    """Sign with a prepared or retiring root from now on. Refused while that would cut replicas off."""
    _step(parser)
    return _declare(parser, lambda agent, options: _take(agent, options, "activate"))


def retire(parser: argparse.ArgumentParser) -> Run:
    """Stop recognising a root that is prepared or retiring. Refused while replicas need it."""
    _step(parser)
    return _declare(parser, lambda agent, options: _take(agent, options, "withdraw"))


def shown(answer: dict[str, Any], now: datetime) -> str:
    """The roots as a table, with what each waits for."""
    header = ("KEY", "PHASE", "SINCE", "LEFT", "ACKNOWLEDGED", "NEXT")
    rows = [
        (
            one["key"],
            one["phase"],
            one["since"],
            left(one["notAfter"], now),
            f"{one['acknowledged']}/{one['liveReplicas']}" if one.get("liveReplicas") is not None else None,
            next_phase(one),
        )
        for one in answer["roots"]
    ]
    return table(header, rows) + "\n"


def next_phase(one: dict[str, Any]) -> str | None:
    """What a root's next phase waits for, or when it comes; None without one."""
    if one.get("activeAtTheLatest"):
        share = one.get("shareNeeded")
        when = f"at the latest {one['activeAtTheLatest']}"
        return f"active when {share:.0%} have it, {when}" if share is not None else f"active {when}"
    return f"gone {one['goneAt']}" if one.get("goneAt") else None


def _step(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("key", help="fingerprint of the root's key, or its beginning: vkube roots status")
    parser.add_argument(
        "--force", action="store_true", help="even if this may cut off replicas: for a key that has leaked"
    )


def _declare(parser: argparse.ArgumentParser, do: Do) -> Run:
    return key_phases.declare(parser, do, lambda answer: shown(answer, datetime.now(UTC)))


def _take(agent: ClusterAgent, options: argparse.Namespace, step: str) -> Any:
    body = {"key": _key(agent, options.key), "force": options.force}
    return agent.call("POST", f"{_PATH}/{step}", body)


def _key(agent: ClusterAgent, begun: str) -> str:
    """The whole fingerprint that begins so. Raises NotFoundError, UsageError."""
    known = [one["key"] for one in agent.call("GET", _PATH)["roots"]]
    found = [one for one in known if one.startswith(begun)]
    if not found:
        raise NotFoundError(f"no root has the key {begun}: there are {', '.join(known)}")
    if len(found) > 1:
        raise UsageError(f"{begun} is the beginning of several keys: {', '.join(found)}")
    return str(found[0])
