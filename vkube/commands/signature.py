"""`vkube signature`: the interface that a server offers, in its own words."""

from __future__ import annotations

import argparse
import json
import socket
import ssl
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPConnection, HTTPException
from typing import Any

from blessings import Verdict
from vkube.command_line import options as shared
from vkube.command_line.commands import Run
from vkube.command_line.exit_codes import ExitCode
from vkube.connection import tls_server
from vkube.connection.tls_server import TlsServer
from vkube.errors import UnreachableError, VkubeError
from vkube.interface import calls, title
from vkube.output.documents import Column, Listing, document
from vkube.output.lines import note, warning
from vkube.output.table import printable

PATH = "/openapi.json"
_LONGEST_BYTES = 16 * 1024 * 1024
_OK = 200
_LISTING = Listing(
    "Call",
    "calls",
    (
        Column("CALL", lambda one: one["call"]),
        Column("TAKES", lambda one: one["takes"]),
        Column("RETURNS", lambda one: one["returns"]),
        Column("MEANING", lambda one: one["meaning"]),
        Column("OPERATION", lambda one: one["operation"], wide=True),
        Column("ANSWERS", lambda one: one["answers"], wide=True),
    ),
    lambda one: str(one["call"]).replace(" ", ""),
)


def signature(parser: argparse.ArgumentParser) -> Run:
    """Show the interface that a TLS server offers: each call, what it takes and returns, by the OpenAPI
    document that it serves at /openapi.json. The server's name is verified as by `identify`; exit code 4 when
    it is not valid. -o json and -o yaml print the document."""
    tls_server.arguments(parser)
    shared.output(parser)
    return _signature


def _signature(options: argparse.Namespace) -> int:
    server = TlsServer(options)
    with server.connected() as (secure, blessing):
        verdict = server.verdict(blessing)
        found = _interface(server, secure)
    _tell_who(server, verdict)
    note(printable(title(found)))
    text = document(found, options.output)
    if text is None:
        _LISTING.show(calls(found), options.output)
    else:
        sys.stdout.write(text)
    return ExitCode.DONE if verdict.valid else ExitCode.FINDINGS


def _tell_who(server: TlsServer, verdict: Verdict) -> None:
    if verdict.valid:
        note(f"{server.address} is {verdict.valid[0]}")
        return
    why = "no root is recognised: name --ca, or credentials that recognise some"
    if len(server.roots):
        why = "; ".join(f"{one.presented}: {one.reason}: {one.message}" for one in verdict.rejected)
    warning(printable(f"{server.address} proves no name ({why})"))


def _interface(server: TlsServer, secure: ssl.SSLSocket) -> dict[str, Any]:
    connection = HTTPConnection(server.address)
    connection.sock = secure
    is_over = threading.Event()
    try:
        with _ended_after(server.seconds, secure, is_over):
            connection.request("GET", PATH, headers={"Accept": "application/json", "Connection": "close"})
            response = connection.getresponse()
            content = response.read(_LONGEST_BYTES + 1)
        if is_over.is_set():  # what came before may look whole
            raise TimeoutError
    except (OSError, HTTPException) as error:
        raise _complaint(server, error, is_over=is_over.is_set()) from error
    if response.status != _OK:
        raise VkubeError(
            f"{server.address} shows no interface: its answer to GET {PATH} is {response.status}"
        )
    try:
        found = json.loads(content) if len(content) <= _LONGEST_BYTES else None
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict) or "openapi" not in found:
        raise VkubeError(
            f"{server.address} shows no interface: what it serves at {PATH} is no OpenAPI document"
        )
    return found


@contextmanager
def _ended_after(seconds: float, secure: ssl.SSLSocket, is_over: threading.Event) -> Iterator[None]:
    """Sets `is_over` and ends the connection then, however slowly the server sends."""

    def end() -> None:
        is_over.set()
        with suppress(OSError):  # the server has ended it already
            socket.socket.shutdown(secure, socket.SHUT_RDWR)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _complaint(server: TlsServer, error: OSError | HTTPException, *, is_over: bool) -> VkubeError:
    """Why there is no answer. `is_over`: this program has ended the connection, whatever the error says."""
    if is_over:
        return UnreachableError(f"{server.address} did not answer GET {PATH} within {server.seconds} s")
    if isinstance(error, (ssl.SSLError, ConnectionError)):
        # In TLS 1.3 a client learns only after its handshake that the server wants another certificate.
        return VkubeError(_refused(server, error))
    if isinstance(error, HTTPException):
        return VkubeError(
            f"{server.address} shows no interface: it does not answer GET {PATH} ({type(error).__name__})"
        )
    return UnreachableError(f"{server.address} did not answer GET {PATH}: {error}")


def _refused(server: TlsServer, error: OSError) -> str:
    reason = str(getattr(error, "reason", None) or "it states no reason").replace("_", " ").lower()
    ended = f"{server.address} shows no interface: it ended the connection after the handshake ({reason})"
    if server.is_anonymous:
        return f"{ended}. If it demands a certificate, name --credentials"
    return f"{ended}. If it does not accept your certificate, look at --credentials, or leave them out"
