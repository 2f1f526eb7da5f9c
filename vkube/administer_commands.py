"""The commands by which a person administers a cluster agent."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer

from blessings import InvalidName, Name, fingerprint
from vkube import cluster_agent, credentials
from vkube.cluster_agent import SERVER_NAME, Address, ClusterAgent
from vkube.complaints import complaining, console
from vkube.errors import CredentialsError
from vkube.principal_commands import PassphraseFile

Url = Annotated[str, typer.Option("--cluster-agent", help="https://HOST:8193")]
Credentials = Annotated[Path, typer.Option("--credentials", help="the administrator's directory")]
CaFile = Annotated[Path, typer.Option("--ca", help="the control plane's roots, PEM")]
ServerName = Annotated[str, typer.Option(help="DNS name that the agent's certificate must have")]


@complaining
def claim_cluster_agent(
    url: Url,
    credentials_directory: Credentials,
    ca_file: CaFile,
    name_prefix: Annotated[str, typer.Option(help="what is delegated to the agent: acme:prod")],
    code_file: Annotated[Path, typer.Option(help="the agent's claim code")],
    days: Annotated[int, typer.Option(min=2, help="life of the delegation")] = 1825,
    server_name: ServerName = SERVER_NAME,
    passphrase_file: PassphraseFile = None,
) -> None:
    """Claim a cluster agent that was started with --claim required: once, by the root in --credentials."""
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
    with ClusterAgent(Address(url, server_name, ca_file), None) as agent:
        root = credentials.authority_of(principal)
        key = cluster_agent.claim(agent, root, prefix, code, lifetime=timedelta(days=days), now=now)
    console.print(
        f"claimed: the cluster agent with the key {fingerprint(key)} names what is under {prefix}",
        markup=False,
        soft_wrap=True,
    )


def add_to(app: typer.Typer) -> None:
    app.command()(claim_cluster_agent)
