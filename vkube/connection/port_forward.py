"""A port of a Pod, forwarded through the API server to a Unix socket that only this user can open.

`kubectl port-forward` listens at a TCP port of the loopback, which every user of the machine can connect to.
https://kubernetes.io/docs/reference/kubectl/generated/kubectl_port-forward/
"""

from __future__ import annotations

import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vkube.errors import ClusterError

if TYPE_CHECKING:
    from kubernetes import client

_CHUNK = 1 << 16
_END_SECONDS = 2.0


@contextmanager
def forwarded(api: client.ApiClient, namespace: str, pod: str, port: int) -> Iterator[Path]:
    """The path of the socket, until the end of the block. Raises ClusterError when forwarding is refused."""
    forwarder = _Forwarder(api, namespace, pod, port)
    first = forwarder.connect()
    with tempfile.TemporaryDirectory(prefix="vkube-", ignore_cleanup_errors=True) as directory:
        path = Path(directory) / "cluster-agent.sock"  # the directory has mode 0700
        forwarder.listen(path, first)
        try:
            yield path
        finally:
            forwarder.close()


class _Forwarder:
    """One listener, and two threads for each of its connections."""

    def __init__(self, api: client.ApiClient, namespace: str, pod: str, port: int) -> None:
        from kubernetes import client

        # A client of its own: to open a WebSocket, the library changes the client for a moment.
        self._core = client.CoreV1Api(client.ApiClient(api.configuration))
        self._namespace, self._pod, self._port = namespace, pod, port
        self._listener = socket.socket(socket.AF_UNIX)
        self._sockets: list[Any] = [self._listener]
        self._threads: list[threading.Thread] = []

    def connect(self) -> Any:
        """A socket that leads to the Pod's port. Raises ClusterError."""
        from kubernetes.client.exceptions import ApiException
        from kubernetes.stream import portforward

        connect = self._core.connect_get_namespaced_pod_portforward
        try:
            way = portforward(connect, self._pod, self._namespace, ports=str(self._port)).socket(self._port)
        except (ApiException, OSError) as error:
            self._listener.close()
            reason = " ".join(str(getattr(error, "reason", None) or error).split())
            raise ClusterError(
                f"port {self._port} of pod {self._namespace}/{self._pod} cannot be forwarded: {reason}. You "
                "need the right to create pods/portforward there, or name --cluster-agent and --ca"
            ) from error
        self._sockets.append(way)
        return way

    def listen(self, path: Path, first: Any) -> None:
        """Accepts connections from now on; the first gets the way that is there."""
        self._listener.bind(str(path))
        self._listener.listen(8)
        self._start(self._accept, first)

    def close(self) -> None:
        """Ends every connection, and its threads."""
        for one in self._sockets:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        for thread in self._threads:
            thread.join(_END_SECONDS)

    def _accept(self, first: Any) -> None:
        ready = [first]
        with suppress(OSError):  # the listener was closed
            while True:
                ours, _ = self._listener.accept()
                self._sockets.append(ours)
                try:
                    theirs = ready.pop() if ready else self.connect()
                except ClusterError:
                    ours.close()
                    continue
                self._start(_copy, ours, theirs)
                self._start(_copy, theirs, ours)

    def _start(self, work: Any, *arguments: Any) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()


def _copy(source: Any, sink: Any) -> None:
    with suppress(OSError):  # either was closed
        while content := source.recv(_CHUNK):
            sink.sendall(content)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_WR)
