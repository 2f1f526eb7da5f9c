"""The options that commands share, so that each has one name and one meaning everywhere."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from service import settings

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
OUTPUTS = ("table", "wide", "json", "yaml", "name")
BEFORE_THE_COMMAND = {
    "-n": 1,
    "--namespace": 1,
    "-A": 0,
    "--all-namespaces": 0,
    "--context": 1,
    "--kubeconfig": 1,
    "--config": 1,
    "-o": 1,
    "--output": 1,
}
"""The options that may also stand before the command, as kubectl's may; with the number of their values."""


def whole(least: int, most: int = 2**31 - 1) -> Callable[[str], int]:
    """The type of an argument that is a whole number from `least` to `most`."""

    def read(text: str) -> int:
        try:
            return settings.whole(text, least, most)
        except ValueError as error:
            raise argparse.ArgumentTypeError(f"{error}, got {text[:100]!r}") from error

    return read


def days(least: int) -> Callable[[str], int]:
    """The type of the life of a certificate."""
    return whole(least, 36_500)


def moment(text: str) -> datetime:
    """The type of an argument that is a time, or a duration before now."""
    found = re.fullmatch(r"(\d{1,6})([smhd])", text)
    if found:
        return datetime.now(UTC) - timedelta(seconds=int(found[1]) * _UNITS[found[2]])
    try:
        time = datetime.fromisoformat(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"expected 1h, 7d, 2026-11-24 or a time, got {text!r}") from error
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def cluster(parser: argparse.ArgumentParser) -> None:
    """--context, --kubeconfig, --config."""
    group = parser.add_argument_group("cluster")
    group.add_argument(
        "--context",
        metavar="NAME",
        help="context of the kubeconfig; by default vkube.cfg's, else the current one",
    )
    group.add_argument(
        "--kubeconfig", type=Path, metavar="FILE", help="by default $KUBECONFIG, else ~/.kube/config"
    )
    group.add_argument(
        "--config", type=Path, metavar="FILE", help="vkube.cfg; by default the one in this directory"
    )


def namespace(parser: argparse.ArgumentParser, *, every: bool = False) -> None:
    """-n, and with `every` also -A."""
    group = parser.add_argument_group("namespace")
    group.add_argument("-n", "--namespace", metavar="NAME", help="by default that of the context")
    if every:
        group.add_argument("-A", "--all-namespaces", action="store_true", help="all namespaces")


def output(parser: argparse.ArgumentParser, *, watch: bool = False) -> None:
    """-o, and with `watch` also --watch."""
    group = parser.add_argument_group("output")
    group.add_argument("-o", "--output", choices=OUTPUTS, default="table", help="table by default")
    if watch:
        group.add_argument("-w", "--watch", action="store_true", help="print what changes until Ctrl-C")
        group.add_argument(
            "--output-watch-events",
            action="store_true",
            help="with --watch and json, yaml or name: ADDED, MODIFIED or DELETED too, as tables always have",
        )


def manifests(parser: argparse.ArgumentParser, *, required: bool = True) -> None:
    """-f; what `vkube.workloads.sources` reads."""
    parser.add_argument(
        "-f",
        "--filename",
        action="append",
        required=required,
        metavar="FILE",
        help="manifests, YAML or JSON: a file, a directory, a URL, or - for standard input; repeatable",
    )


def principal(parser: argparse.ArgumentParser, what: str) -> None:
    """The directory of a principal, which `what` describes, and --passphrase-file."""
    parser.add_argument("directory", type=Path, nargs="?", help=f"{what}; by default $V23_CREDENTIALS")
    passphrase(parser)


def waiting(parser: argparse.ArgumentParser, until: str) -> None:
    """--wait and --wait-timeout."""
    parser.add_argument("--wait", action="store_true", help=until)
    parser.add_argument(
        "--wait-timeout", type=whole(1), default=300, metavar="SECONDS", help="of --wait (300)"
    )


def passphrase(parser: argparse.ArgumentParser) -> None:
    """--passphrase-file."""
    parser.add_argument(
        "--passphrase-file",
        type=Path,
        metavar="FILE",
        help="contains the passphrase of a sealed key; by default the terminal is asked",
    )


def cluster_agent(parser: argparse.ArgumentParser) -> None:
    """How to reach the cluster agent, and as whom. Includes `cluster`."""
    cluster(parser)
    group = parser.add_argument_group(
        "cluster agent",
        "By default vkube forwards a port through the API server, and presents the credentials of "
        "--credentials, or, without any, a certificate that it makes under the control plane's own root, as "
        "far as your rights in the cluster allow.",
    )
    group.add_argument(
        "--cluster-agent", metavar="URL", help="https://HOST:8193, instead of a forwarded port"
    )
    group.add_argument(
        "--credentials",
        type=Path,
        metavar="DIRECTORY",
        help="the administrator's directory; by default $V23_CREDENTIALS",
    )
    group.add_argument(
        "--ca",
        type=Path,
        metavar="FILE",
        help="the control plane's roots, PEM; by default those in the cluster",
    )
    group.add_argument(
        "--server-name", metavar="NAME", help="DNS name that the agent's certificate must have"
    )
    group.add_argument(
        "--passphrase-file",
        type=Path,
        metavar="FILE",
        help="contains the passphrase of sealed credentials; by default the terminal is asked",
    )
