"""h2 as a server, within limits. What they limit is counted for each connection."""

from __future__ import annotations

from typing import Any

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.exceptions import DenialOfServiceError
from h2.frame_buffer import FrameBuffer
from h2.settings import SettingCodes, Settings

# What a client library is told: it must be able to open the stream that is refused.
ADVERTISED_STREAMS = 1000
_MOST_HEADER_BYTES = 16 * 1024
# HTTP/2's own: so many bytes of a connection, and of a stream, may wait until a method reads them.
_WINDOW_BYTES = 2**16 - 1


class Http2(H2Connection):
    """The state of one connection."""

    # h2's own number, 65536, would let each connection hold megabytes of streams that ended.
    MAX_CLOSED_STREAMS = ADVERTISED_STREAMS + 24

    def __init__(self) -> None:
        super().__init__(H2Configuration(client_side=False, header_encoding="utf-8"))
        limits = {
            SettingCodes.MAX_CONCURRENT_STREAMS: ADVERTISED_STREAMS,
            SettingCodes.MAX_HEADER_LIST_SIZE: _MOST_HEADER_BYTES,
            SettingCodes.INITIAL_WINDOW_SIZE: _WINDOW_BYTES,
        }
        self.local_settings = Settings(client=False, initial_values=limits)
        self.decoder.max_header_list_size = _MOST_HEADER_BYTES
        self.incoming_buffer = _BoundedFrames(self.max_inbound_frame_size)


class _BoundedFrames(FrameBuffer):
    """The frames that have not arrived whole.

    h2 itself looks at a frame's length when all of it is there, which may be 16 MiB, and holds 64 frames of
    headers, each of 16 KiB.
    """

    def __init__(self, most_frame_bytes: int) -> None:
        super().__init__(server=True)
        self.max_frame_size = most_frame_bytes

    def __next__(self) -> Any:
        """Raises h2's ProtocolError."""
        if len(length := self._data[:3]) == 3:
            self._validate_frame_length(int.from_bytes(length, "big"))
        return super().__next__()

    def _update_header_buffer(self, frame: Any) -> Any:
        whole = super()._update_header_buffer(frame)
        if sum(len(one.data) for one in self._headers_buffer) > _MOST_HEADER_BYTES:
            raise DenialOfServiceError("too many bytes of headers")
        return whole
