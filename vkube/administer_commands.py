"""The commands for the administrator of a cluster agent."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer

from blessings import InvalidName, Name, fingerprint
from service.cluster_agent_client import SERVER_NAME, ClusterAgentClient
from vkube import cluster_agent, credentials
from vkube.complaints import complaining, console
from vkube.errors import CredentialsError
from vkube.principal_commands import PassphraseFile, warn_if_shorter

Url = Annotated[str, typer.Option("--cluster-agent", help="https://HOST:8193")]
Credentials = Annotated[Path, typer.Option("--credentials", help="the administrator's directory")]
CaFile = Annotated[Path, typer.Option("--ca", help="the control plane's roots, PEM")]
ServerName = Annotated[str, typer.Option(help="DNS name that the agent's certificate must have")]


@complaining
def claim_cluster_agent(
    url: Url,
    credentials_directory: Credentials,
    ca_file: CaFile,
    name_prefix: Annotated[str, typer.Option(help="the names delegated to the agent, such as acme:prod")],
    code_file: Annotated[Path, typer.Option(help="the agent's claim code")],
    days: Annotated[int, typer.Option(min=2, help="life of the delegation")] = 1825,
    server_name: ServerName = SERVER_NAME,
    passphrase_file: PassphraseFile = None,
) -> None:
    """Claim a cluster agent that was started with --claim required: once, with the root in --credentials."""
    now = datetime.now(UTC)
    principal = credentials.open_directory(
        credentials_directory, credentials.read_passphrase(passphrase_file)
    )
    try:
        prefix, code = Name.parse(name_prefix), code_file.read_text().strip()
    except InvalidName as error:
        raise CredentialsError(f"--name-prefix: {error}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise CredentialsError(f"--code-file: {error}") from error
    with cluster_agent.connect(url, server_name, ca_file, None) as agent:
        root = credentials.authority_of(principal)
        granted = cluster_agent.claim(agent, root, prefix, code, lifetime=timedelta(days=days), now=now)
    console.print(
        f"claimed: the cluster agent with the key {fingerprint(granted.public_key)} names what is under "
        f"{prefix}, until {granted.not_after.isoformat()}",
        markup=False,
        soft_wrap=True,
    )
    warn_if_shorter(granted, days, now, why="the root's certificate ends then")


@complaining
def register(
    namespace: str,
    service_account: str,
    name: Annotated[str, typer.Argument(help="acme:fortuned; its replicas are acme:fortuned:POD")],
    url: Url,
    credentials_directory: Credentials,
    ca_file: CaFile,
    ttl: Annotated[int | None, typer.Option(help="life of replica certificates, in seconds")] = None,
    days: Annotated[int, typer.Option(min=1, help="life of a grant, where the name needs one")] = 365,
    server_name: ServerName = SERVER_NAME,
    passphrase_file: PassphraseFile = None,
) -> None:
    """Name an application; certificates with its previous name are no longer renewed."""
    try:
        parsed = Name.parse(name)
    except InvalidName as error:
        raise CredentialsError(f"NAME: {error}") from error
    principal = credentials.open_directory(
        credentials_directory, credentials.read_passphrase(passphrase_file)
    )
    now = datetime.now(UTC)
    wanted = cluster_agent.Wanted(namespace, service_account, parsed, ttl, timedelta(days=days))
    identity = credentials.client_certificate(principal, now)
    with cluster_agent.connect(url, server_name, ca_file, identity) as agent:
        grant = cluster_agent.register(agent, wanted, lambda: credentials.authority_of(principal), now)
    line = f"registered: {namespace}/{service_account} is {parsed}, by a grant of {grant}"
    console.print(line, markup=False, soft_wrap=True)


@complaining
def unregister(
    namespace: str,
    service_account: str,
    url: Url,
    credentials_directory: Credentials,
    ca_file: CaFile,
    server_name: ServerName = SERVER_NAME,
    passphrase_file: PassphraseFile = None,
) -> None:
    """Let an application's name follow from its namespace and service account again."""
    with _administering(url, credentials_directory, ca_file, server_name, passphrase_file) as agent:
        body = {"namespace": namespace, "serviceAccount": service_account}
        known = agent.call("POST", "/v1/unregister-application", body)["known"]
    done = "unregistered" if known else "was not registered"
    console.print(f"{namespace}/{service_account}: {done}", markup=False, soft_wrap=True)


@complaining
def applications(
    url: Url,
    credentials_directory: Credentials,
    ca_file: CaFile,
    server_name: ServerName = SERVER_NAME,
    passphrase_file: PassphraseFile = None,
) -> None:
    """List the registered applications."""
    with _administering(url, credentials_directory, ca_file, server_name, passphrase_file) as agent:
        for one in agent.call("GET", "/v1/applications")["applications"]:
            line = f"{one['namespace']}/{one['serviceAccount']}  {one['name']}"
            line += f"  ttl {one['ttlSeconds']} s" if one["ttlSeconds"] else ""
            line += f"  granted until {one['grantedUntil']}" if one["grantedUntil"] else ""
            # An older version of the cluster agent sends none.
            line += f"  REFUSED NOW: {one['objection']}" if one.get("objection") else ""
            console.print(line, markup=False, soft_wrap=True)


def _administering(
    url: str, directory: Path, ca_file: Path, server_name: str, passphrase_file: Path | None
) -> ClusterAgentClient:
    principal = credentials.open_directory(directory, credentials.read_passphrase(passphrase_file))
    identity = credentials.client_certificate(principal, datetime.now(UTC))
    return cluster_agent.connect(url, server_name, ca_file, identity)


def add_to(app: typer.Typer) -> None:
    for command in (claim_cluster_agent, register, unregister, applications):
        app.command()(command)
