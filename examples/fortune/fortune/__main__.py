"""`python -m fortune serve | get | add | has | identify`."""

from __future__ import annotations

import argparse
import signal
import sys
import threading

from agent_client import AgentError
from blessings import BlessingsError, Pattern
from fortune.client import FortuneError, call, description, identify
from fortune.identity import ReplicaIdentity, own_application
from fortune.server import FortuneServer


def main() -> int:
    arguments = _arguments()
    identity = ReplicaIdentity()
    try:
        return _serve(identity, arguments) if arguments.command == "serve" else _call(identity, arguments)
    except (FortuneError, BlessingsError, AgentError, OSError) as error:
        print(f"fortune: {error}", file=sys.stderr)
        return 1
    finally:
        identity.close()


def _serve(identity: ReplicaIdentity, arguments: argparse.Namespace) -> int:
    allowed = arguments.allow or [own_application(identity.name)]
    server = FortuneServer(arguments.listen, identity, allowed)
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    host, port = arguments.listen
    print(f"{identity.name} serves at {host}:{port}", flush=True)
    server.serve_forever()
    server.server_close()
    return 0


def _call(identity: ReplicaIdentity, arguments: argparse.Namespace) -> int:
    if arguments.command == "identify":
        print(description(*identify(identity, arguments.connect)))
        return 0
    expected = arguments.expect or own_application(identity.name)
    text = getattr(arguments, "text", None)
    server, answer = call(identity, arguments.connect, expected, arguments.command.capitalize(), text)
    print(f"{server}: {answer}" if answer is not None else f"{server}: done")
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="fortune", description="Fortunes, among replicas that know each other."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    serve = commands.add_parser("serve", help="answer callers")
    serve.add_argument("--listen", type=_address, required=True, metavar="HOST:PORT")
    serve.add_argument(
        "--allow",
        type=Pattern.parse,
        action="append",
        metavar="PATTERN",
        help="who may call; default: own application",
    )
    for name, meaning in {
        "get": "a fortune",
        "add": "add one",
        "has": "whether there is one",
        "identify": "who answers there",
    }.items():
        command = commands.add_parser(name, help=meaning)
        command.add_argument("--connect", type=_address, required=True, metavar="HOST:PORT")
        if name != "identify":
            command.add_argument("--expect", type=Pattern.parse, metavar="PATTERN", help="who should answer")
        if name in ("add", "has"):
            command.add_argument("text")
    return parser.parse_args()


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal():
        raise argparse.ArgumentTypeError(f"expected HOST:PORT, got {text!r}")
    return host, int(port)


if __name__ == "__main__":
    sys.exit(main())
