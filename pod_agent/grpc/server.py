"""A gRPC server: the table of its methods, and the limits that all connections share.

server = GrpcServer({"/SpiffeWorkloadAPI/FetchX509SVID": fetch_x509_svid})
await loop.create_unix_server(server.connection, path)
"""

from __future__ import annotations

from collections.abc import Mapping

from pod_agent.grpc.call import Method, Room
from pod_agent.grpc.huffman import replace_table
from pod_agent.grpc.share import Share
from pod_agent.listener import Served
from service.bounded_log import BoundedLog
from service.log import get_logger

# A thousand take 6 MiB.
MOST_STREAMS_OF_CONNECTION = 1000
MOST_STREAMS = 1200
MOST_ARRIVING_BYTES = 1 << 20


class GrpcServer:
    """Serves `methods`, by their paths. All others are UNIMPLEMENTED."""

    def __init__(self, methods: Mapping[str, Method]) -> None:
        self._methods = methods
        self._share = Share(
            MOST_STREAMS,
            MOST_STREAMS_OF_CONNECTION,
            Room(MOST_ARRIVING_BYTES),
            BoundedLog(get_logger("pod_agent")),
        )

    def connection(self) -> Served:
        """The protocol of one connection."""
        # Not before there is a client: HTTP/2 takes a tenth of the time to the first blessing.
        replace_table()
        from pod_agent.grpc.connection import Connection

        return Connection(self._methods, self._share)
