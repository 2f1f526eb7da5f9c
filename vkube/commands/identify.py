"""`vkube identify`: what a server presents, and what it proves."""

from __future__ import annotations

import argparse
import socket
import ssl
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

from blessings import WITH_DELEGATION, Blessing, BlessingsError, Roots, Verdict, fingerprint, verify
from blessings.directory import DirectoryPrincipal
from blessings.tls import load_identity, peer_blessing
from vkube import credentials
from vkube.command_line import options as shared
from vkube.command_line.commands import Run
from vkube.command_line.exit_codes import ExitCode
from vkube.connection.cluster_agent import open_credentials
from vkube.errors import CredentialsError, UnreachableError, UsageError
from vkube.output.lines import result


def identify(parser: argparse.ArgumentParser) -> Run:
    """Show the blessing that a TLS server presents, whether its name is valid for the roots that you
    recognise, and why not. Proof of the key is part of the handshake; nothing is sent to the server. Exit
    code 4 when no name is valid."""
    parser.add_argument("address", metavar="HOST:PORT", help="an IPv6 address in brackets: [::1]:2345")
    parser.add_argument(
        "--credentials",
        type=Path,
        metavar="DIRECTORY",
        help="the roots in it are recognised, and its blessing is presented; by default $V23_CREDENTIALS",
    )
    parser.add_argument(
        "--ca",
        type=Path,
        metavar="FILE",
        help="roots to recognise instead, PEM; ca.crt of a replica, or the output of vkube bundle export",
    )
    parser.add_argument(
        "--timeout", type=shared.whole(1), default=10, metavar="SECONDS", help="of the handshake (10)"
    )
    shared.passphrase(parser)
    return _identify


def _identify(options: argparse.Namespace) -> int:
    address = _parsed(options.address)
    directory = open_credentials(options)
    roots = _roots(options, directory)
    blessing = _presented(address, _context(directory), options.timeout, options.address)
    verdict = verify([blessing], roots, now=datetime.now(UTC), policy=WITH_DELEGATION)
    for line in description(blessing, verdict, len(roots)):
        result(line)
    return ExitCode.DONE if verdict.valid else ExitCode.FINDINGS


def description(blessing: Blessing, verdict: Verdict, roots: int) -> list[str]:
    """The lines of the original's `identify`, and the reason why a name is not valid."""
    names = [str(one.presented) for one in verdict.rejected if one.presented] + [
        str(one) for one in verdict.valid
    ]
    lines = [
        f"PRESENTED: {names[0] if names else f'no blessing, a certificate for {_subject(blessing)}'}",
        f"VALID:     [{', '.join(map(str, verdict.valid))}]",
        f"PUBLICKEY: {fingerprint(blessing.public_key)}",
        f"EXPIRES:   {blessing.not_after.isoformat()}",
    ]
    lines += [f"REJECTED:  {one.reason}: {one.message}" for one in verdict.rejected]
    if not roots:
        lines.append("No root is recognised: name --ca, or credentials that recognise some.")
    return lines


def _parsed(text: str) -> tuple[str, int]:
    try:
        parts = urlsplit(f"//{text}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if not host or not port or parts.path or parts.username:
        raise UsageError(f"{text!r}: expected HOST:PORT, an IPv6 address in brackets")
    return host, port


def _roots(options: argparse.Namespace, directory: DirectoryPrincipal | None) -> Roots:
    if options.ca is not None:
        try:
            return Roots.from_pem(options.ca.read_bytes())
        except (OSError, BlessingsError) as error:
            raise CredentialsError(f"--ca {options.ca}: {error}") from error
    return Roots(()) if directory is None else directory.roots


def _context(directory: DirectoryPrincipal | None) -> ssl.SSLContext:
    """A client that takes any certificate: it is judged afterwards, and nothing is sent before."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if directory is not None and directory.blessings.default is not None:
        principal, blessing = credentials.client_certificate(directory, datetime.now(UTC))
        load_identity(context, blessing.to_pem(), principal.to_pem().decode())
    return context


def _presented(address: tuple[str, int], context: ssl.SSLContext, seconds: int, text: str) -> Blessing:
    try:
        with (
            socket.create_connection(address, timeout=seconds) as plain,
            context.wrap_socket(plain, server_hostname=address[0]) as secure,
        ):
            found = peer_blessing(secure)
    except ssl.SSLError as error:
        reason = (error.reason or str(error)).replace("_", " ").lower()
        raise UnreachableError(f"{text} does not complete a TLS handshake: {reason}") from error
    except TimeoutError as error:
        raise UnreachableError(f"{text} did not complete a TLS handshake within {seconds} s") from error
    except OSError as error:
        raise UnreachableError(f"{text} cannot be reached: {error.strerror or error}") from error
    except BlessingsError as error:
        raise CredentialsError(f"{text} presents a certificate that cannot be read: {error}") from error
    if found is None:
        raise CredentialsError(f"{text} presents no certificate")
    return found


def _subject(blessing: Blessing) -> str:
    return blessing.certificates[0].subject.rfc4514_string() or "nobody"
