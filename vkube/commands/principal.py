"""`vkube principal`: commands that make and show credentials in a directory."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from blessings import Blessing, Caveat, Expiry, InvalidCaveat, Methods, fingerprint
from blessings.directory import DirectoryPrincipal
from vkube import credentials, terminal
from vkube.command_line import options as shared
from vkube.command_line.commands import Run
from vkube.errors import CredentialsError, UsageError
from vkube.output.lines import note, result, warning
from vkube.output.table import printable

# A certificate's end is in whole seconds: one with less than a second of life has expired when it is made.
_LEAST_DAYS, _MOST_DAYS = 0.00002, 3650


def create(parser: argparse.ArgumentParser) -> Run:
    """Make a new principal; with a NAME, a root. Its key is sealed under a passphrase, which the terminal is
    asked for."""
    parser.add_argument("directory", type=Path, help="new, or empty")
    parser.add_argument("name", nargs="?", help="makes it the root of this name: acme")
    parser.add_argument(
        "--days",
        type=shared.days(1),
        default=3650,
        help="life of the root's certificate (3650)",
    )
    parser.add_argument(
        "--with-passphrase",
        dest="seal",
        choices=("true", "false"),
        default="true",
        help="false: the key is not sealed, and is everyone's who can read the file",
    )
    parser.add_argument(
        "--passphrase-file", type=Path, metavar="FILE", help="contains the passphrase; no terminal is asked"
    )
    return _create


def public_key(parser: argparse.ArgumentParser) -> Run:
    """Print the public key as PEM, for another principal to bless."""
    shared.principal(parser, "the principal's directory")
    return _public_key


def bless(parser: argparse.ArgumentParser) -> Run:
    """Name another principal's key, offline, and print the blessing as PEM. A blessing with a caveat is
    accepted only by programs that know blessings, and by no TLS server, including the cluster agent's."""
    shared.principal(parser, "the principal that blesses")
    parser.add_argument(
        "public_key_file",
        metavar="public-key-file",
        type=Path,
        help="the key to bless: output of `vkube principal public-key`",
    )
    parser.add_argument("extension", help="added to the name: administrator:alice")
    parser.add_argument("--days", type=float, default=30, help="life of the certificate (30)")
    parser.add_argument(
        "--expires",
        type=datetime.fromisoformat,
        metavar="TIME",
        help="a caveat: the time until which it holds; UTC without an offset",
    )
    parser.add_argument("--method", action="append", help="a caveat: for these calls only; repeatable")
    return _bless


def set_default(parser: argparse.ArgumentParser) -> Run:
    """Make a blessing the one to present, instead of the previous one."""
    shared.principal(parser, "the principal that is to present it")
    parser.add_argument(
        "blessing_file",
        metavar="blessing-file",
        type=Path,
        help="what `bless` printed for this principal's key",
    )
    return _set_default


def dump(parser: argparse.ArgumentParser) -> Run:
    """Show what a principal is: its key, its blessings with their ends and caveats, and the roots that it
    recognises."""
    shared.principal(parser, "the principal's directory")
    return _dump


def opened(options: argparse.Namespace) -> DirectoryPrincipal:
    """The principal that the command line names, or $V23_CREDENTIALS."""
    if options.directory is None:
        if not (named := os.environ.get("V23_CREDENTIALS")):
            raise UsageError("expected the directory of a principal, or $V23_CREDENTIALS")
        options.directory = Path(named)
    return credentials.open_directory(options.directory, credentials.read_passphrase(options.passphrase_file))


def _create(options: argparse.Namespace) -> None:
    sealed = options.seal == "true"
    if options.passphrase_file is not None and not sealed:
        raise UsageError("--with-passphrase=false contradicts --passphrase-file")
    credentials.check_new(options.directory, options.name)
    passphrase = credentials.read_passphrase(options.passphrase_file)
    if passphrase is None and sealed:
        passphrase = terminal.new_passphrase(
            f"Passphrase for {options.directory}: ",
            "name --passphrase-file; or --with-passphrase=false, which leaves the key unsealed",
        )
    credentials.create(
        options.directory,
        options.name,
        passphrase=passphrase,
        lifetime=timedelta(days=options.days),
        now=datetime.now(UTC),
    )
    result(
        f"made {'a principal' if options.name is None else f'the root {options.name}'} in {options.directory}"
    )


def _public_key(options: argparse.Namespace) -> None:
    key = opened(options).public_key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    sys.stdout.write(key.decode())


def _bless(options: argparse.Namespace) -> None:
    now = datetime.now(UTC)
    if not _LEAST_DAYS <= options.days <= _MOST_DAYS:
        raise CredentialsError(
            f"--days: at least {_LEAST_DAYS:f} and at most {_MOST_DAYS}, got {options.days:g}"
        )
    caveats: list[Caveat] = [] if options.expires is None else [_expiry(options.expires, now)]
    if options.method:
        caveats.append(_methods(options.method))
    blesser = opened(options)
    key, blessing = credentials.bless(
        blesser,
        options.public_key_file,
        options.extension,
        lifetime=timedelta(days=options.days),
        caveats=caveats,
        now=now,
    )
    sys.stdout.write(blessing.to_pem())
    note(f"blessed the key {fingerprint(key)} as {blessing.presented} until {blessing.not_after.isoformat()}")
    warn_if_shorter(blessing, options.days, now, why=f"the blessing in {options.directory} ends then")


def _set_default(options: argparse.Namespace) -> None:
    blessing = credentials.set_default(opened(options), options.blessing_file, datetime.now(UTC))
    result(f"{options.directory} presents {blessing.presented} until {blessing.not_after.isoformat()}")


def warn_if_shorter(blessing: Blessing, days: float, now: datetime, *, why: str) -> None:
    """A warning on stderr when `blessing` ends before the `days` that were asked for."""
    # Both ends are rounded down to whole seconds.
    if blessing.not_after < now + timedelta(days=days) - timedelta(seconds=2):
        warning(f"this is shorter than the {days:g} days asked for, because {why}")


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


def _dump(options: argparse.Namespace) -> None:
    principal = opened(options)
    lines = [f"PUBLICKEY: {fingerprint(principal.public_key)}"]
    default = principal.blessings.default
    if default is None:
        lines.append("DEFAULT:   none")
    else:
        lines.append(f"DEFAULT:   {default.presented} until {default.not_after.isoformat()}")
        lines += _caveats(default)
    for pattern, blessing in principal.blessings.for_peers:
        lines.append(f"FOR PEERS: {blessing.presented} for {pattern} until {blessing.not_after.isoformat()}")
        lines += _caveats(blessing)
    lines += [
        f"ROOT:      {root.pattern} {fingerprint(root.facts.public_key)} "
        f"until {root.facts.not_after.isoformat()}"
        for root in principal.roots
    ]
    for line in lines:
        result(printable(line))


def _caveats(blessing: Blessing) -> Iterator[str]:
    """The caveats of each certificate of the chain: all must hold."""
    for position in range(len(blessing.certificates)):
        facts = blessing.facts(position)
        for caveat in facts.caveats:
            yield f"CAVEAT:    of {facts.name}: {json.dumps(caveat.to_json(), ensure_ascii=False)}"
