"""Any TLS server, named HOST:PORT: the connection, and what the server presents in the handshake."""

from __future__ import annotations

import argparse
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

from blessings import WITH_DELEGATION, Blessing, BlessingsError, Roots, Verdict, verify
from blessings.directory import DirectoryPrincipal
from blessings.tls import load_identity, peer_blessing
from vkube import credentials
from vkube.command_line import options as shared
from vkube.connection.cluster_agent import open_credentials
from vkube.errors import CredentialsError, UnreachableError, UsageError


def arguments(parser: argparse.ArgumentParser) -> None:
    """The address, whose credentials are presented, and which roots are recognised."""
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
        "--timeout",
        type=shared.whole(1),
        default=10,
        metavar="SECONDS",
        help="until the answer is there (10)",
    )
    shared.passphrase(parser)


class TlsServer:
    """The server that a command line names. Raises VkubeError where the options cannot be used."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.address: str = options.address
        self.seconds: int = options.timeout
        self._place = _parsed(options.address)
        directory = open_credentials(options)
        self.roots = _roots(options.ca, directory)
        self._context = _context(directory)
        self.is_anonymous = directory is None or directory.blessings.default is None

    @contextmanager
    def connected(self) -> Iterator[tuple[ssl.SSLSocket, Blessing]]:
        """The connection and the chain that the server presented, which is not verified yet. Raises
        UnreachableError, CredentialsError."""
        with self._handshake() as secure:
            try:
                found = peer_blessing(secure)
            except BlessingsError as error:
                raise CredentialsError(
                    f"{self.address} presents a certificate that cannot be read: {error}"
                ) from error
            if found is None:
                raise CredentialsError(f"{self.address} presents no certificate")
            yield secure, found

    def verdict(self, blessing: Blessing) -> Verdict:
        """What the chain proves to those who recognise `roots`."""
        return verify([blessing], self.roots, now=datetime.now(UTC), policy=WITH_DELEGATION)

    def _handshake(self) -> ssl.SSLSocket:
        try:
            plain = socket.create_connection(self._place, timeout=self.seconds)
        except TimeoutError as error:
            raise UnreachableError(
                f"{self.address} did not accept a connection within {self.seconds} s"
            ) from error
        except OSError as error:
            raise UnreachableError(f"{self.address} cannot be reached: {error.strerror or error}") from error
        try:
            return self._context.wrap_socket(plain, server_hostname=self._place[0])
        except ssl.SSLError as error:
            reason = (error.reason or str(error)).replace("_", " ").lower()
            raise UnreachableError(f"{self.address} does not complete a TLS handshake: {reason}") from error
        except TimeoutError as error:
            raise UnreachableError(
                f"{self.address} did not complete a TLS handshake within {self.seconds} s"
            ) from error
        except OSError as error:
            raise UnreachableError(
                f"{self.address} ended the TLS handshake: {error.strerror or error}"
            ) from error
        finally:
            plain.close()  # wrap_socket has detached it, or failed


def _parsed(text: str) -> tuple[str, int]:
    try:
        parts = urlsplit(f"//{text}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if not host or not port or parts.path or parts.username:
        raise UsageError(f"{text!r}: expected HOST:PORT, an IPv6 address in brackets")
    return host, port


def _roots(file: Path | None, directory: DirectoryPrincipal | None) -> Roots:
    if file is not None:
        try:
            return Roots.from_pem(file.read_bytes())
        except (OSError, BlessingsError) as error:
            raise CredentialsError(f"--ca {file}: {error}") from error
    return Roots(()) if directory is None else directory.roots


def _context(directory: DirectoryPrincipal | None) -> ssl.SSLContext:
    """A client that takes any certificate: the caller judges it before it sends anything."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if directory is not None and directory.blessings.default is not None:
        principal, blessing = credentials.client_certificate(directory, datetime.now(UTC))
        load_identity(context, blessing.to_pem(), principal.to_pem().decode())
    return context
