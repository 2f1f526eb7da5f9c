"""`vkube principal`: commands that make and show credentials in a directory."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from blessings import Blessing, Caveat, Expiry, InvalidCaveat, Methods, fingerprint
from vkube import credentials
from vkube.complaints import complaining, console
from vkube.errors import CredentialsError

app = typer.Typer(no_args_is_help=True, help="Principals: a key and its blessings, in a directory.")

# A certificate's end is in whole seconds: one with less than a second of life has expired when it is made.
_LEAST_DAYS, _MOST_DAYS = 0.00002, 3650
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


@app.command("public-key")
@complaining
def public_key(directory: Path, passphrase_file: PassphraseFile = None) -> None:
    """Print the public key as PEM, for another principal to bless."""
    principal = credentials.open_directory(directory, credentials.read_passphrase(passphrase_file))
    key = principal.public_key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    typer.echo(key.decode(), nl=False)


@app.command()
@complaining
def bless(
    directory: Annotated[Path, typer.Argument(help="the principal that blesses")],
    public_key_file: Annotated[Path, typer.Argument(help="the key to bless: output of `public-key`")],
    extension: Annotated[str, typer.Argument(help="added to the name: administrator:alice")],
    days: Annotated[float, typer.Option(help="life of the certificate")] = 30,
    expires: Annotated[
        datetime | None,
        typer.Option(help="a caveat: the time until which it holds; UTC without an offset"),
    ] = None,
    method: Annotated[
        list[str] | None, typer.Option(help="a caveat: for these calls only; repeatable")
    ] = None,
    passphrase_file: PassphraseFile = None,
) -> None:
    """Name another principal's key, offline, and print the blessing as PEM. A blessing with a caveat is
    accepted only by programs that know blessings, and by no TLS server, including the cluster agent's."""
    now = datetime.now(UTC)
    if not _LEAST_DAYS <= days <= _MOST_DAYS:
        raise CredentialsError(f"--days: at least {_LEAST_DAYS:f} and at most {_MOST_DAYS}, got {days:g}")
    caveats: list[Caveat] = [] if expires is None else [_expiry(expires, now)]
    if method:
        caveats.append(_methods(method))
    blesser = credentials.open_directory(directory, credentials.read_passphrase(passphrase_file))
    key, blessing = credentials.bless(
        blesser,
        public_key_file,
        extension,
        lifetime=timedelta(days=days),
        caveats=caveats,
        now=now,
    )
    typer.echo(blessing.to_pem(), nl=False)
    until = blessing.not_after.isoformat()
    typer.echo(f"blessed the key {fingerprint(key)} as {blessing.presented} until {until}", err=True)
    warn_if_shorter(blessing, days, now, why=f"the blessing in {directory} ends then")


@app.command("set-default")
@complaining
def set_default(
    directory: Path,
    blessing_file: Annotated[Path, typer.Argument(help="what `bless` printed for this principal's key")],
    passphrase_file: PassphraseFile = None,
) -> None:
    """Make a blessing the one to present, instead of the previous one."""
    principal = credentials.open_directory(directory, credentials.read_passphrase(passphrase_file))
    blessing = credentials.set_default(principal, blessing_file, datetime.now(UTC))
    line = f"{directory} presents {blessing.presented} until {blessing.not_after.isoformat()}"
    console.print(line, markup=False, soft_wrap=True)


def warn_if_shorter(blessing: Blessing, days: float, now: datetime, *, why: str) -> None:
    """A warning on stderr when `blessing` ends before the `days` that were asked for."""
    # Both ends are rounded down to whole seconds.
    if blessing.not_after < now + timedelta(days=days) - timedelta(seconds=2):
        typer.echo(f"warning: this is shorter than the {days:g} days asked for, because {why}", err=True)


def _expiry(expires: datetime, now: datetime) -> Expiry:
    expires = expires.replace(tzinfo=UTC) if expires.tzinfo is None else expires.astimezone(UTC)
    if expires <= now:
        raise CredentialsError(f"--expires: {expires.isoformat()} is not after now, {now.isoformat()}")
    return Expiry(expires)


def _methods(names: list[str]) -> Methods:
    try:
        return Methods(tuple(names))
    except InvalidCaveat as error:
        raise CredentialsError(f"--method: {error}") from error


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
