"""A program in a container, with its standard streams, by the API server: what `kubectl exec -i` does."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from vkube.connection.cluster import Cluster
from vkube.errors import ClusterError, UnreachableError

_ERROR_CHANNEL = 3
_LOOK_SECONDS = 1.0
_LONGEST_COMPLAINT = 10_000


@dataclass(frozen=True)
class Container:
    """A container of a running Pod."""

    namespace: str
    pod: str
    name: str

    def __str__(self) -> str:
        return f"container {self.name} of pod {self.namespace}/{self.pod}"


def execute(
    cluster: Cluster,
    container: Container,
    command: Sequence[str],
    *,
    stdin: Iterable[bytes] = (),
    stdout: Callable[[bytes], object],
    silent_seconds: float = 300.0,
) -> None:
    """Runs the command to its end. `stdin` gets no end: the command must know how much there is.

    Raises ClusterError with what the command complained of when it fails, or may not be run;
    UnreachableError when nothing comes for `silent_seconds`, or the connection breaks.
    """
    from websocket import WebSocketException

    stream = _opened(cluster, container, command)
    complaint = bytearray()
    try:
        for part in stdin:
            if not stream.is_open():
                break
            stream.write_stdin(part)
            stream.update(timeout=0)
        heard_at = time.monotonic()
        while True:
            is_open = stream.is_open()
            stream.update(timeout=_LOOK_SECONDS)
            printed, complained = stream.read_stdout(0), stream.read_stderr(0)
            if printed:
                stdout(printed)
            complaint += complained[:_LONGEST_COMPLAINT]
            if not is_open:
                break
            if printed or complained:
                heard_at = time.monotonic()
            elif time.monotonic() - heard_at > silent_seconds:
                raise UnreachableError(f"{container}: nothing came for {silent_seconds:g} s")
        status = stream.read_channel(_ERROR_CHANNEL)
    except (OSError, WebSocketException) as error:
        raise UnreachableError(f"{container}: the connection broke: {error}") from error
    finally:
        stream.close()
        stream.sock.shutdown()  # close leaves the socket of a connection that the server ended
    _check(status, container, bytes(complaint).decode(errors="replace").strip())


def _opened(cluster: Cluster, container: Container, command: Sequence[str]) -> Any:
    from kubernetes.stream.ws_client import WSClient, get_websocket_url
    from websocket import WebSocketException

    _, url, headers, *_ = cluster.api.param_serialize(
        "GET",
        f"/api/v1/namespaces/{container.namespace}/pods/{container.pod}/exec",
        query_params=[
            ("container", container.name),
            *(("command", word) for word in command),
            *((stream, "true") for stream in ("stdin", "stdout", "stderr")),
        ],
        auth_settings=["BearerToken"],
    )
    try:
        # Not kubernetes.stream.stream: it keeps all of the output in memory too.
        address = get_websocket_url(url)  # type: ignore[no-untyped-call]
        return WSClient(  # type: ignore[no-untyped-call]
            cluster.api.configuration, address, headers, capture_all=False, binary=True
        )
    except (OSError, WebSocketException) as error:
        reason = " ".join(str(error).split())
        raise ClusterError(
            f"nothing can be run in {container}: {reason}. You need the right to create pods/exec there"
        ) from error


def _check(status: bytes, container: Container, complaint: str) -> None:
    """Raises ClusterError unless the command ended with 0. https://kubernetes.io/docs/reference/generated/
    kubernetes-api/v1.37/#status-v1-meta is the form of `status`."""
    try:
        found = yaml.safe_load(status) or {}
        if found.get("status") == "Success":
            return
        why = str(found.get("message") or "it did not end")
    except (yaml.YAMLError, AttributeError):
        why = "its end is not known"
    raise ClusterError(complaint or f"{container}: {why}")
