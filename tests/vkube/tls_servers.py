"""TLS servers for the tests of commands that call any server."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def listening(context: ssl.SSLContext | None, answer: bytes | None = b"") -> Iterator[str]:
    """A server that shakes hands, reads, sends the answer and hangs up; without an answer it says nothing for
    ever, and without a context it is in plain text."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                try:
                    if context is None:
                        connection.sendall(b"SSH-2.0-not-tls\r\n")
                    else:
                        connection = context.wrap_socket(connection, server_side=True)
                        connection.recv(1 << 16)
                        if answer is None:
                            connection.recv(1)
                        else:
                            connection.sendall(answer)
                except OSError:
                    pass
                finally:
                    connection.close()

        threading.Thread(target=serve, daemon=True).start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)
