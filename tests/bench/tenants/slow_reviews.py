"""As much of an API server as the cluster agent asks for: token reviews, each of which takes its time."""

from __future__ import annotations

import base64
import binascii
import json
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.cluster_agents import AUDIENCE, write_serving_files

_EXTRA = "authentication.kubernetes.io"


@contextmanager
def slow_reviews(directory: Path, seconds: float) -> Iterator[dict[str, object]]:
    """The settings for it. A token with the claims of a pod's is good; its signature is not looked at."""
    write_serving_files(directory)
    (directory / "token").write_text("the agent's own")
    server = ThreadingHTTPServer(("127.0.0.1", 0), _answering(seconds))
    server.daemon_threads = True
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(directory / "tls.crt", directory / "tls.key")
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield {
            "kubernetes_api_url": f"https://localhost:{server.server_address[1]}",
            "kubernetes_token_file": directory / "token",
            "kubernetes_ca_file": directory / "ca.crt",
        }
    finally:
        server.shutdown()
        server.server_close()


def _answering(seconds: float) -> type[BaseHTTPRequestHandler]:
    class Answer(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            if "watch" in self.path:
                time.sleep(3600)
            self._send({"kind": "PodList", "metadata": {"resourceVersion": "1"}, "items": []})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if body.get("kind") == "TokenReview":
                time.sleep(seconds)
                body["status"] = _status(body["spec"]["token"])
            self._send(body)

        def log_message(self, *_: Any) -> None:
            """Nothing: the table is what is printed."""

        def _send(self, content: dict[str, Any]) -> None:
            text = json.dumps(content).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

    return Answer


def _status(token: str) -> dict[str, Any]:
    try:
        claims = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))["kubernetes.io"]
    except (IndexError, KeyError, ValueError, binascii.Error):
        return {"authenticated": False, "error": "invalid bearer token"}
    namespace, account = claims["namespace"], claims["serviceaccount"]["name"]
    pod = claims["pod"]
    extra = {f"{_EXTRA}/pod-name": [pod["name"]], f"{_EXTRA}/pod-uid": [pod["uid"]]}
    user = {"username": f"system:serviceaccount:{namespace}:{account}", "extra": extra}
    return {"authenticated": True, "audiences": [AUDIENCE], "user": user}
