"""The number of bytes that the other side of a TCP connection has acknowledged.

Only the kernel knows it. The size of our own buffers is misleading, because the kernel takes a megabyte or
more at once, and then nothing until a third of it is gone.
"""

from __future__ import annotations

import socket
import struct

# tcpi_bytes_acked in struct tcp_info of linux/tcp.h, since Linux 4.1; new fields are only ever added after
# it.
_OFFSET = 120
_COUNT = struct.Struct("=Q")


def bytes_taken(connection: socket.socket) -> int:
    """Bytes that the other side has acknowledged since the connection began (RFC 4898,
    tcpEStatsAppHCThruOctetsAcked); 0 when it is closed."""
    if connection.fileno() < 0:
        return 0
    known = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _OFFSET + _COUNT.size)
    taken: int = _COUNT.unpack_from(known, _OFFSET)[0]
    return taken
