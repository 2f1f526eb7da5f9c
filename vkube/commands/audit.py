"""`vkube audit`: who did what, and when."""

from __future__ import annotations

import argparse
import json
from itertools import islice
from typing import Any

from vkube.command_line import options as shared
from vkube.command_line.commands import Run
from vkube.connection.cluster_agent import administering
from vkube.output.documents import Column, Listing

_PAGE = 500
_OWN = ("act", "at", "caller")
_LISTING = Listing(
    "Record",
    "records",
    (
        Column("TIME", lambda one: one["record"]["at"]),
        Column("ACT", lambda one: one["record"]["act"]),
        Column("CALLER", lambda one: one["record"]["caller"]),
        Column("ABOUT", lambda one: about(one["record"])),
        Column("CHAIN", lambda one: f"{one['chain']} {one['number']}", wide=True),
    ),
    lambda one: f"{one['chain']}/{one['number']}",
)


def audit(parser: argparse.ArgumentParser) -> Run:
    """Search the cluster agent's audit: blessings, secrets, names, revocations, refusals, tripwires; the
    oldest record first. It proves nothing: vkube audit verify finds what was changed or removed."""
    parser.add_argument(
        "--since", type=shared.moment, metavar="TIME", help="1h, 7d, 2026-11-24 or a time (1d)"
    )
    parser.add_argument(
        "--until", type=shared.moment, metavar="TIME", help="before then, spelled like --since"
    )
    parser.add_argument("--act", help="only this act: blessing-issued, secret-made, revoked, refused, …")
    parser.add_argument("--name", help="only what has this name in it, or one that extends it")
    parser.add_argument("--caller", help="only what this caller did, or one whose name extends it")
    parser.add_argument("--limit", type=shared.whole(1, 100_000), default=100, help="the last so many (100)")
    shared.output(parser)
    shared.cluster_agent(parser)
    return _audit


def about(record: dict[str, Any]) -> str:
    """What the act was about: every other field."""
    return " ".join(f"{name}={_spelled(value)}" for name, value in record.items() if name not in _OWN)


def _spelled(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _audit(options: argparse.Namespace) -> None:
    query = {
        "since": None if options.since is None else int(options.since.timestamp()),
        "until": None if options.until is None else int(options.until.timestamp()),
        "act": options.act,
        "name": options.name,
        "caller": options.caller,
        "limit": min(_PAGE, options.limit),
    }
    with administering(options) as agent:
        found = list(islice(agent.pages("/v1/audit", "records", **query), options.limit))
    # The cluster agent orders by seconds.
    found.sort(key=lambda one: str(one["record"]["at"]))
    _LISTING.show(found, options.output)
