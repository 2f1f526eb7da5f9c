"""A port of a Pod, forwarded through the API server to a Unix socket that only this user can open.

`kubectl port-forward` listens at a TCP port of the loopback, which every user of the machine can connect to.
https://kubernetes.io/docs/reference/kubectl/generated/kubectl_port-forward/
"""

from __future__ import annotations

import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vkube.errors import ClusterError

if TYPE_CHECKING:
    from kubernetes import client

_CHUNK = 1 << 16


@contextmanager
def forwarded(api: client.ApiClient, namespace: str, pod: str, port: int) -> Iterator[Path]:
    """The path of the socket, until the end of the block. Raises ClusterError when forwarding is refused."""
    first = _connection(api, namespace, pod, port)
    with (
        tempfile.TemporaryDirectory(prefix="vkube-", ignore_cleanup_errors=True) as directory,
        closing(socket.socket(socket.AF_UNIX)) as listener,
    ):
        path = Path(directory) / "cluster-agent.sock"  # the directory has mode 0700
        listener.bind(str(path))
        listener.listen(8)
        accepting = threading.Thread(
            target=_accept, args=(listener, first, (api, namespace, pod, port)), daemon=True
        )
        accepting.start()
        try:
            yield path
        finally:
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)


def _connection(api: client.ApiClient, namespace: str, pod: str, port: int) -> Any:
    from kubernetes import client
    from kubernetes.client.exceptions import ApiException
    from kubernetes.stream import portforward

    connect = client.CoreV1Api(api).connect_get_namespaced_pod_portforward
    try:
        return portforward(connect, pod, namespace, ports=str(port)).socket(port)
    except (ApiException, OSError) as error:
        reason = getattr(error, "reason", None) or str(error)
        raise ClusterError(
            f"port {port} of pod {namespace}/{pod} cannot be forwarded: {' '.join(str(reason).split())}. "
            "You need the right to create pods/portforward there, or name --cluster-agent and --ca"
        ) from error


def _accept(listener: socket.socket, first: Any, where: tuple[Any, str, str, int]) -> None:
    """Connects each client of the socket with the Pod's port; the first with the connection that is there."""
    ready = [first]
    with suppress(OSError):  # the listener was closed
        while True:
            ours, _ = listener.accept()
            try:
                theirs = ready.pop() if ready else _connection(*where)
            except ClusterError:
                ours.close()
                continue
            for source, sink in ((ours, theirs), (theirs, ours)):
                threading.Thread(target=_copy, args=(source, sink), daemon=True).start()


def _copy(source: Any, sink: Any) -> None:
    with suppress(OSError):
        while content := source.recv(_CHUNK):
            sink.sendall(content)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_WR)
