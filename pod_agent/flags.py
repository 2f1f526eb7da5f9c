"""The pod agent's flags, for those who start it by hand: an injected Pod has variables only."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import NoReturn

from service.errors import SettingsError


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise SettingsError(message)


def parse(arguments: Sequence[str], prefix: str) -> Mapping[str, str | None]:
    """The flags by the names of the settings. Raises SettingsError; `--help` ends the program."""
    parser = _Parser(prog="pod-agent", description="Identity sidecar of one Pod.", allow_abbrev=False)
    meanings = {
        "cluster_agent_url": "where the cluster agent is, https://host:port",
        "cluster_agent_server_name": "DNS name that its certificate must have, whatever host the URL names",
        "credential_file": "bootstrap credential, a JSON document",
        "token_file": "service-account token bound to this Pod",
        "socket_directory": "where agent.sock, workload.sock and health.sock are made",
        "health_host": "address of the health port; ::, all, IPv4 and IPv6",
        "health_port": "port of /healthz, /readyz and /metrics; without it, they are on health.sock alone",
        "ttl_seconds": "ask for a shorter life of the blessing",
        "files_directory": "where the identity is also written as files; without it, it is not",
        "files_mode": "their mode: 0400, 0440 or 0444",
        "files_group": "their group, one of the pod agent's own",
        "log_level": "debug, info, warning or error",
    }
    for name, meaning in meanings.items():
        parser.add_argument(f"--{name.replace('_', '-')}", help=f"{meaning} ({prefix}{name.upper()})")
    return vars(parser.parse_args(arguments))
