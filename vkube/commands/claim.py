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
from vkube.configuration import load
from vkube.connection.cluster import Cluster
from vkube.connection.cluster_agent import as_nobody, open_credentials
from vkube.connection.secrets import decoded
from vkube.errors import ClusterError, CredentialsError, ForbiddenError
from vkube.installation.manifests import CLAIM_CODE, CLAIM_SECRET, prefix_of
from vkube.output.lines import note, result, warning


def claim_cluster_agent(parser: argparse.ArgumentParser) -> Run:
    """Claim a cluster agent that waits for it: once, with the root in --credentials. It may then name what is
    below clusterAgent.blessing of vkube.cfg. The claim code in the cluster is deleted afterwards."""
    parser.add_argument(
        "--name-prefix",
        help="the names delegated to the agent, such as acme:prod; by default clusterAgent.blessing of "
        "vkube.cfg",
    )
    parser.add_argument(
        "--code-file",
        type=Path,
        metavar="FILE",
        help=f"the agent's claim code; by default that in the cluster's Secret {CLAIM_SECRET}",
    )
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
    given = options.name_prefix
    try:
        prefix = Name.parse(given or prefix_of(load(options.config)))
    except InvalidName as error:
        raise CredentialsError(f"{'--name-prefix' if given else 'clusterAgent.blessing'}: {error}") from error
    root = credentials.authority_of(principal)
    code = _code_in_cluster(options) if options.code_file is None else _code(options.code_file)
    with as_nobody(options) as agent:
        granted = naming.claim(agent, root, prefix, code, lifetime=timedelta(days=options.days), now=now)
    result(
        f"claimed: the cluster agent with the key {fingerprint(granted.public_key)} names what is under "
        f"{prefix}, until {granted.not_after.isoformat()}"
    )
    warn_if_shorter(granted, options.days, now, why="the root's certificate ends then")
    if options.code_file is None:
        _delete_code(options)


def _code(file: Path) -> str:
    try:
        return file.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise CredentialsError(f"--code-file: {error}") from error


def _code_in_cluster(options: argparse.Namespace) -> str:
    with Cluster.of(options) as cluster:
        where = f"Secret {cluster.system}/{CLAIM_SECRET}"
        try:
            found = cluster.find(_path(cluster))
        except ForbiddenError as error:
            raise CredentialsError(
                f"you may not read {where}, which has the claim code: name --code-file"
            ) from error
    code = decoded(found or {}).get(CLAIM_CODE, "").strip()
    if not code:
        raise CredentialsError(
            f"there is no claim code in {where}: name --code-file. It is deleted by a claim; vkube "
            "create-secrets makes one for an agent that was not claimed yet"
        )
    return code


def _delete_code(options: argparse.Namespace) -> None:
    with Cluster.of(options) as cluster:
        where = f"Secret {cluster.system}/{CLAIM_SECRET}"
        try:
            cluster.delete(_path(cluster))
        except ClusterError as error:
            warning(f"{where} is of no more use, and could not be deleted: {error}")
        else:
            note(f"{where}: deleted, a claim code is good for one claim")


def _path(cluster: Cluster) -> str:
    return f"/api/v1/namespaces/{cluster.system}/secrets/{CLAIM_SECRET}"
