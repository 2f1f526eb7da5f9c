"""The program `cluster-agent-audit`: shows the audit, and verifies that it was not changed.

cluster-agent-audit show --data-directory /var/lib/vanadium --act blessing-issued
cluster-agent-audit verify --database-url postgresql://… --key 3d:92:… --heads cluster-agent.log
"""

from __future__ import annotations

import argparse
import heapq
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cluster_agent.audit.records import HEAD_EVENT, Head, Signed
from cluster_agent.audit.verification import Chain, verify
from cluster_agent.errors import ClusterAgentError
from cluster_agent.store.audit_reading import AuditReading, reading_audit
from service.errors import SettingsError

# Of each chain, of which there are some for every process that ever wrote.
_SHOWN_AT_ONCE = 200


def main() -> None:
    """Exits with 0 when nothing was changed, 1 when something was, 2 when the audit cannot be read."""
    arguments = _parser().parse_args()
    try:
        with reading_audit(_url(arguments)) as audit:
            sys.exit(arguments.do(arguments, audit))
    except (ClusterAgentError, SettingsError, OSError) as error:
        sys.stderr.write(f"cluster-agent-audit: {error}\n")
        sys.exit(2)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="cluster-agent-audit",
        description="Shows the cluster agent's audit, and finds out whether it is as it was written.",
    )
    commands = parser.add_subparsers(required=True)
    check = commands.add_parser("verify", help="finds records that were changed, removed, moved or added")
    check.add_argument(
        "--key",
        action="append",
        default=[],
        help="fingerprint of an issuing key to trust, from the log's lines 'audit head'; may be said again. "
        "Without one every key is trusted",
    )
    check.add_argument(
        "--heads", type=Path, help="a log of the cluster agent: the heads in it must be in the audit"
    )
    check.set_defaults(do=_verify)
    show = commands.add_parser("show", help="prints the records, one JSON object a line, oldest first")
    show.add_argument("--act", help="only these: blessing-issued, secret-made, refused, …")
    show.set_defaults(do=_show)
    for command in (check, show):
        command.add_argument("--data-directory", type=Path, default=Path("/var/lib/vanadium"))
        command.add_argument(
            "--database-url", help="instead; better by VANADIUM_CLUSTER_AGENT_DATABASE_URL, which nobody sees"
        )
    return parser


def _url(arguments: argparse.Namespace) -> str:
    url = arguments.database_url or os.environ.get("VANADIUM_CLUSTER_AGENT_DATABASE_URL")
    if url:
        return str(url)
    file = arguments.data_directory / "cluster-agent.sqlite3"
    if not file.exists():
        raise SettingsError(f"there is no {file}; name --data-directory or --database-url")
    return f"sqlite:///{file}"


def _verify(arguments: argparse.Namespace, audit: AuditReading) -> int:
    anchors = [] if arguments.heads is None else list(_noted_heads(arguments.heads))
    report = verify(
        audit.chains(), audit.records_of, audit.hash_at, audit.names(), anchors, frozenset(arguments.key)
    )
    for problem in report.problems:
        sys.stdout.write(f"WRONG: {problem}\n")
    for head in report.heads:
        sys.stdout.write(f"head of chain {head.chain}: record {head.number}, {head.hash}\n")
    for key in sorted(report.keys):
        sys.stdout.write(f"signed with {key}{'' if arguments.key else ', which nobody vouched for'}\n")
    sys.stdout.write(
        f"{report.records} records, {len(report.heads)} heads, {len(anchors)} noted heads: "
        f"{'all as written' if not report.problems else f'{len(report.problems)} problems'}\n"
    )
    return 1 if report.problems else 0


def _show(arguments: argparse.Namespace, audit: AuditReading) -> int:
    for one in heapq.merge(*(_said(audit, chain) for chain in audit.chains()), key=lambda said: said["at"]):
        if arguments.act in (None, one["act"]):
            sys.stdout.write(json.dumps(one, ensure_ascii=False) + "\n")
    return 0


def _said(audit: AuditReading, chain: Chain) -> Iterator[dict[str, Any]]:
    """The records of a chain, each with its place."""
    for record in audit.records_of(chain.head.chain, _SHOWN_AT_ONCE):
        yield {"chain": chain.head.chain, "number": record.number, **json.loads(record.text)}


def _noted_heads(log: Path) -> Iterator[tuple[Head, Signed]]:
    """The heads in a log, of which other lines may be anything."""
    with log.open() as lines:
        for line in lines:
            if HEAD_EVENT not in line:
                continue
            try:
                said = json.loads(line[line.index("{") :])
                if said["event"] == HEAD_EVENT:
                    head = Head(str(said["chain"]), int(said["number"]), str(said["hash"]))
                    yield head, Signed(str(said["key"]), str(said["signature"]))
            except (ValueError, KeyError, TypeError) as error:
                raise SettingsError(f"{log}: a line that says {HEAD_EVENT!r} cannot be read") from error


if __name__ == "__main__":
    main()
