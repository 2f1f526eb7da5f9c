"""What all connections of a gRPC server share."""

from __future__ import annotations

from dataclasses import dataclass

from pod_agent.grpc.call import Room
from service.bounded_log import BoundedLog


@dataclass
class Share:
    """Limits, and how much of them is used: `open` is how many streams all connections have."""

    most_streams: int
    most_streams_of_connection: int
    room: Room
    log: BoundedLog
    open: int = 0
