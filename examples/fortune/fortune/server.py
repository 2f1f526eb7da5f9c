"""The server: JSON over HTTP over mTLS, for clients whose name matches a pattern. Everyone may read its
interface."""

from __future__ import annotations

import json
import random
import ssl
import sys
import threading
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from agent_client import AgentError
from blessings import BlessingsError, Name, Pattern
from fortune.identity import ReplicaIdentity, peer_name
from fortune.interface import INTERFACE, LONGEST_FORTUNE_BYTES, PATH

_HANDSHAKE_SECONDS = 5.0


class FortuneServer(ThreadingHTTPServer):
    """Serves until `shutdown`. `allowed` are the patterns of the clients that it answers."""

    daemon_threads = True

    def __init__(
        self, address: tuple[str, int], identity: ReplicaIdentity, allowed: Sequence[Pattern]
    ) -> None:
        super().__init__(address, _Handler)
        self.identity = identity
        self.allowed = tuple(allowed)
        self.fortunes = {f"{identity.name} greets you"}
        self.lock = threading.Lock()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """One line for a handshake or connection that failed, instead of a traceback; none for a client that
        ends without a handshake, as the readiness probe does each second."""
        error = sys.exception()
        if not isinstance(error, OSError):
            super().handle_error(request, client_address)
        elif not isinstance(error, ssl.SSLEOFError | ConnectionError):
            print(f"{client_address[0]} was not served: {error}", flush=True)


class _Handler(BaseHTTPRequestHandler):
    server: FortuneServer
    connection: ssl.SSLSocket
    caller: Name

    def setup(self) -> None:
        # The handshake is here and not at accept: a slow one then blocks only its own thread.
        self.request.settimeout(_HANDSHAKE_SECONDS)
        self.request = self.server.identity.server().wrap_socket(self.request, server_side=True)
        super().setup()

    def do_GET(self) -> None:
        if self.path == PATH:
            self._answer(200, INTERFACE)
        else:
            self._answer(
                404, {"error": f"there is {PATH} to get, and to post to {', '.join(INTERFACE['paths'])}"}
            )

    def do_POST(self) -> None:
        length = self.headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > LONGEST_FORTUNE_BYTES:
            self._answer(413, {"error": f"a fortune has at most {LONGEST_FORTUNE_BYTES} bytes"})
            return
        # The body is read before any answer: closing the connection with unread data would reset it, and the
        # client would not learn why.
        body = self.rfile.read(int(length))
        if not self._authorised():
            return
        method = self.path.removeprefix("/")
        try:
            argument = json.loads(body or b"null")
        except ValueError:
            self._answer(400, {"error": "the body is no JSON"})
            return
        with self.server.lock:
            self._call(method, argument)

    def _call(self, method: str, argument: object) -> None:
        fortunes = self.server.fortunes
        if method == "Add" and isinstance(argument, str):
            fortunes.add(argument)
            self._answer(200, None)
        elif method == "Get":
            self._answer(200, random.choice(sorted(fortunes)))  # noqa: S311 - a fortune is no secret
        elif method == "Has" and isinstance(argument, str):
            self._answer(200, argument in fortunes)
        else:
            self._answer(
                404, {"error": f"there is no {method} of that; there are Add(text), Get() and Has(text)"}
            )

    def _authorised(self) -> bool:
        try:
            self.caller = peer_name(self.connection, self.server.identity)
        except (BlessingsError, AgentError) as error:
            self._answer(403, {"error": f"who are you? {error}"})
            return False
        if any(pattern.matches(self.caller) for pattern in self.server.allowed):
            return True
        allowed = ", ".join(str(pattern) for pattern in self.server.allowed)
        self._answer(403, {"error": f"{self.caller} is not allowed here; allowed are {allowed}"})
        return False

    def _answer(self, status: int, value: Any) -> None:
        content = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - http.server's name
        print(f"{getattr(self, 'caller', '?')} {format % args}", flush=True)
