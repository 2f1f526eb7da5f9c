"""The program `cluster-agent-audit`: searches the audit, and verifies that it was not changed.

cluster-agent-audit show --data-directory /var/lib/vanadium --act blessing-issued --since 2026-11-24
cluster-agent-audit verify --database-url postgresql://… --key 3d:92:… --heads cluster-agent.log
"""

from __future__ import annotations

import argparse
import heapq
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cluster_agent.audit import notes
from cluster_agent.audit.kinds import MOST_DAYS, MOST_RECORDS, Retention
from cluster_agent.audit.notes import InvalidNote, Note
from cluster_agent.audit.verification import Verification
from cluster_agent.errors import ClusterAgentError
from cluster_agent.store.audit_reading import AuditReading, reading_audit
from service.errors import SettingsError
from service.settings import whole
from service.version import print_version_if_asked

# Per chain; every process that ever wrote has some chains.
_SHOWN_AT_ONCE = 200


def main() -> None:
    """Exits with 0 when nothing was changed, 1 when something was, 2 when the audit cannot be read, 3 when
    nothing shows a change and there are records that no note proves."""
    print_version_if_asked("cluster-agent-audit", sys.argv[1:])
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
        description="Searches the cluster agent's audit, and finds out whether it is as it was written.",
    )
    commands = parser.add_subparsers(required=True)
    check = commands.add_parser("verify", help="finds records that were changed, removed, moved or added")
    check.add_argument(
        "--heads",
        type=Path,
        required=True,
        help="the logs of the cluster agent's replicas: what their lines 'audit head' note must be there",
    )
    check.add_argument(
        "--key",
        action="append",
        default=[],
        help="fingerprint of an issuing key to trust, which these lines have too; may be said again. "
        "Without one every key is trusted",
    )
    retention_arguments(check)
    check.set_defaults(do=_verify)
    show = commands.add_parser("show", help="prints the records, one JSON object a line, oldest first")
    show.add_argument("--act", help="only these: blessing-issued, secret-made, refused, …")
    show.add_argument("--name", help="only what has this name in it, or one that extends it")
    show.add_argument("--since", type=_time, help="only from then on: 2026-11-24, or 2026-11-24T12:00:00Z")
    show.add_argument("--until", type=_time, help="only before then")
    show.set_defaults(do=_show)
    for command in (check, show):
        command.add_argument("--data-directory", type=Path, default=Path("/var/lib/vanadium"))
        command.add_argument(
            "--database-url", help="instead; better by VANADIUM_CLUSTER_AGENT_DATABASE_URL, which nobody sees"
        )
    return parser


def retention_arguments(parser: argparse.ArgumentParser) -> None:
    """The limits by which the agents remove records: --audit-days and others."""
    for option, default in (
        ("days", Retention.days),
        ("administration-days", Retention.administration_days),
        ("records", Retention.issuing),
        ("other-records", Retention.others),
    ):
        what = "as the cluster agent is set; the least, if that was changed"
        most = MOST_DAYS if option.endswith("days") else MOST_RECORDS
        parser.add_argument(f"--audit-{option}", type=_whole(most), default=default, help=what)


def _whole(most: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        try:
            return whole(text, 1, most)
        except ValueError as error:
            raise argparse.ArgumentTypeError(f"{error}, got {text[:100]!r}") from error

    return read


def _time(spelled: str) -> int:
    time = datetime.fromisoformat(spelled)
    return int((time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp())


def _url(arguments: argparse.Namespace) -> str:
    url = arguments.database_url or os.environ.get("VANADIUM_CLUSTER_AGENT_DATABASE_URL")
    if url:
        return str(url)
    file = arguments.data_directory / "cluster-agent.sqlite3"
    if not file.exists():
        raise SettingsError(f"there is no {file}; name --data-directory or --database-url")
    return f"sqlite:///{file}"


def _verify(arguments: argparse.Namespace, audit: AuditReading) -> int:
    with arguments.heads.open() as log:
        found = verified(arguments, audit, {str(arguments.heads): log})
    sys.stdout.writelines(f"{line}\n" for line in found.lines)
    return 1 if found.problems else 3 if found.unproved else 0


@dataclass(frozen=True)
class Verified:
    """What a verification found. `lines` are for people, the last one sums it up."""

    problems: list[str]
    unproved: list[str]
    lines: list[str]


def verified(
    arguments: argparse.Namespace, audit: AuditReading, logs: Mapping[str, Iterable[str]]
) -> Verified:
    """Compares the audit with the heads that `logs` note, by the name of each. `arguments` are `key` and
    those of `retention_arguments`. Raises SettingsError for a note that cannot be read."""
    noted: list[Note] = []
    refused: list[str] = []
    for name, log in logs.items():
        for line in _noted_heads(name, log):
            try:
                noted.append(Note.of_line(line, frozenset(arguments.key)))
            except InvalidNote as error:
                refused.append(f"{name}: {error}")
    retention = Retention(
        arguments.audit_days,
        arguments.audit_administration_days,
        arguments.audit_records,
        arguments.audit_other_records,
    )
    found = Verification(noted, retention, datetime.now(UTC)).verify(
        audit.bases(), audit.records_of, audit.names()
    )
    problems = refused + found.problems
    lines = [f"WRONG: {line}" for line in problems] + [f"UNPROVED: {line}" for line in found.unproved]
    said = f"{len(problems)} problems" if problems else "all as written, as far as noted"
    lines.append(f"{found.records} records, {len(noted)} noted heads: {said}")
    return Verified(problems, found.unproved, lines)


def _show(arguments: argparse.Namespace, audit: AuditReading) -> int:
    chains = (_said(arguments, audit, base.chain) for base in audit.bases())
    for one in heapq.merge(*chains, key=lambda said: said["at"]):
        if arguments.act in (None, one["act"]) and _names(one, arguments.name):
            sys.stdout.write(json.dumps(one, ensure_ascii=False) + "\n")
    return 0


def _said(arguments: argparse.Namespace, audit: AuditReading, chain: str) -> Iterator[dict[str, Any]]:
    """The records of a chain, each with its place."""
    for record in audit.records_of(
        chain, since=arguments.since or 0, until=arguments.until, at_once=_SHOWN_AT_ONCE
    ):
        yield {"chain": chain, "number": record.number, **json.loads(record.text)}


def _names(record: dict[str, Any], name: str | None) -> bool:
    texts = [value for value in record.values() if isinstance(value, str)]
    return name is None or any(f"{text}:".startswith(f"{name}:") for text in texts)


def _noted_heads(name: str, lines: Iterable[str]) -> Iterator[dict[str, Any]]:
    """The lines of a log that note a head. Any other lines may be between them."""
    for line in lines:
        if notes.EVENT not in line:
            continue
        try:
            said = json.loads(line[line.index("{") :])
            if said["event"] == notes.EVENT:
                yield said
        except (ValueError, KeyError, TypeError) as error:
            raise SettingsError(f"{name}: a line that says {notes.EVENT!r} cannot be read") from error


if __name__ == "__main__":
    main()
