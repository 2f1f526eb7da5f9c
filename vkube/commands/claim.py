"""`vkube claim-cluster-agent`."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime, timedelta
from pathlib import Path

from blessings import InvalidName, Name, fingerprint
from vkube import credentials, naming
from vkube.command_line import options as shared
from vkube.command_line.commands import Run
from vkube.commands.principal import warn_if_shorter
from vkube.connection.cluster_agent import as_nobody, open_credentials
from vkube.errors import CredentialsError
from vkube.output.lines import result


def claim_cluster_agent(parser: argparse.ArgumentParser) -> Run:
    """Claim a cluster agent that was started with --claim required: once, with the root in --credentials."""
    parser.add_argument(
        "--name-prefix", required=True, help="the names delegated to the agent, such as acme:prod"
    )
    parser.add_argument("--code-file", required=True, type=Path, help="the agent's claim code")
    parser.add_argument("--days", type=shared.days(2), default=1825, help="life of the delegation (1825)")
    shared.cluster_agent(parser)
    return _claim


def _claim(options: argparse.Namespace) -> None:
    now = datetime.now(UTC)
    principal = open_credentials(options)
    if principal is None:
        raise CredentialsError(
            "--credentials: expected the directory of the root that claims, or $V23_CREDENTIALS"
        )
    try:
        prefix, code = Name.parse(options.name_prefix), options.code_file.read_text().strip()
    except InvalidName as error:
        raise CredentialsError(f"--name-prefix: {error}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise CredentialsError(f"--code-file: {error}") from error
    lifetime = timedelta(days=options.days)
    root = credentials.authority_of(principal)
    with as_nobody(options) as agent:
        granted = naming.claim(agent, root, prefix, code, lifetime=lifetime, now=now)
    result(
        f"claimed: the cluster agent with the key {fingerprint(granted.public_key)} names what is under "
        f"{prefix}, until {granted.not_after.isoformat()}"
    )
    warn_if_shorter(granted, options.days, now, why="the root's certificate ends then")
