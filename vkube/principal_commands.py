"""`vkube principal`: makes and shows credentials in a directory."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer

from blessings import fingerprint
from vkube import credentials
from vkube.complaints import complaining, console

app = typer.Typer(no_args_is_help=True, help="Principals: a key and its blessings, in a directory.")

PassphraseFile = Annotated[
    Path | None, typer.Option(help="file with the passphrase that the key is sealed under")
]


@app.command()
@complaining
def create(
    directory: Annotated[Path, typer.Argument(help="new, or empty")],
    name: Annotated[str | None, typer.Argument(help="makes it the root of this name: acme")] = None,
    passphrase_file: PassphraseFile = None,
    days: Annotated[int, typer.Option(min=1, help="life of the root's certificate")] = 3650,
) -> None:
    """Make a new principal; with a NAME, a root."""
    credentials.create(
        directory,
        name,
        passphrase=credentials.read_passphrase(passphrase_file),
        lifetime=timedelta(days=days),
        now=datetime.now(UTC),
    )
    console.print(
        f"made {'a principal' if name is None else f'the root {name}'} in {directory}", markup=False
    )


@app.command()
@complaining
def dump(directory: Path, passphrase_file: PassphraseFile = None) -> None:
    """Show what a principal is: its key, its blessings, and the roots that it recognises."""
    principal = credentials.open_directory(directory, credentials.read_passphrase(passphrase_file))
    lines = [f"PUBLICKEY: {fingerprint(principal.public_key)}"]
    default = principal.blessings.default
    if default is None:
        lines.append("DEFAULT:   none")
    else:
        lines.append(f"DEFAULT:   {default.presented} until {default.not_after.isoformat()}")
    lines += [
        f"FOR PEERS: {blessing.presented} for {pattern} until {blessing.not_after.isoformat()}"
        for pattern, blessing in principal.blessings.for_peers
    ]
    lines += [
        f"ROOT:      {root.pattern} {fingerprint(root.facts.public_key)} "
        f"until {root.facts.not_after.isoformat()}"
        for root in principal.roots
    ]
    console.print("\n".join(lines), markup=False, soft_wrap=True)
