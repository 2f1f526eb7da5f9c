"""`vkube identify`: what a server presents, and what it proves."""

from __future__ import annotations

import argparse

from blessings import Blessing, Verdict, fingerprint
from vkube.command_line.commands import Run
from vkube.command_line.exit_codes import ExitCode
from vkube.connection import tls_server
from vkube.connection.tls_server import TlsServer
from vkube.output.lines import result
from vkube.output.table import printable


def identify(parser: argparse.ArgumentParser) -> Run:
    """Show the blessing that a TLS server presents, whether its name is valid for the roots that you
    recognise, and why not. Proof of the key is part of the handshake; nothing is sent to the server. Exit
    code 4 when no name is valid."""
    tls_server.arguments(parser)
    return _identify


def _identify(options: argparse.Namespace) -> int:
    server = TlsServer(options)
    with server.connected() as (_, blessing):
        pass
    verdict = server.verdict(blessing)
    for line in description(blessing, verdict, len(server.roots)):
        result(printable(line))
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


def _subject(blessing: Blessing) -> str:
    return blessing.certificates[0].subject.rfc4514_string() or "nobody"
