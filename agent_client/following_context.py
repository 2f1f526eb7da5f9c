"""An SSLContext for programs that keep one for their whole life: each new connection takes the identity that
is current then, and ends in its handshake when the peer's name is refused.

Python's ssl has no callback for a peer's certificate, and a context never forgets a root. So the context that
the program holds only hands out connections of an inner one, which is made anew when the identity changes.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Iterable
from typing import Any, Protocol, Self

from blessings import Name


class Judge(Protocol):
    """Decides about a peer after the handshake and before any data."""

    def __call__(self, connection: ssl.SSLObject | ssl.SSLSocket) -> Name:
        """The peer's name. Raises ssl.SSLCertVerificationError when it is refused."""


class JudgedObject(ssl.SSLObject):
    """A connection of asyncio, whose peer has the name `peer_name` after the handshake."""

    peer_name: Name
    judge: Judge

    def do_handshake(self) -> None:
        super().do_handshake()
        self.peer_name = type(self).judge(self)

    def read(self, *arguments: Any) -> Any:
        self._require_judged()
        return super().read(*arguments)

    def write(self, data: Any) -> int:
        self._require_judged()
        return super().write(data)

    def _require_judged(self) -> None:
        # OpenSSL completes a handshake in the first read or write of a program that asked for none.
        if not hasattr(self, "peer_name"):
            self.do_handshake()


class JudgedSocket(ssl.SSLSocket):
    """A connection of a blocking program, whose peer has the name `peer_name` after the handshake."""

    peer_name: Name
    judge: Judge
    made_by: FollowingContext
    # What ssl.SSLSocket has, and its stub lacks. `_sslobj` is None while there is no TLS.
    do_handshake_on_connect: bool
    suppress_ragged_eofs: bool
    _sslobj: object

    def do_handshake(self, block: bool = False) -> None:
        super().do_handshake(block)
        self.peer_name = type(self).judge(self)

    def accept(self) -> tuple[JudgedSocket, Any]:
        """As of ssl.SSLSocket. A program keeps its listening socket, so each connection takes the current
        identity here."""
        plain, address = socket.socket.accept(self)
        connection = type(self).made_by.wrap_socket(
            plain,
            server_side=True,
            do_handshake_on_connect=self.do_handshake_on_connect,
            suppress_ragged_eofs=self.suppress_ragged_eofs,
        )
        return connection, address

    # The other ways to receive and send call these.

    def read(self, *arguments: Any) -> Any:
        self._require_judged()
        return super().read(*arguments)

    def write(self, data: Any) -> int:
        self._require_judged()
        return super().write(data)

    def send(self, data: Any, flags: int = 0) -> int:
        self._require_judged()
        return super().send(data, flags)

    def _require_judged(self) -> None:
        # As in JudgedObject. After `unwrap` there is no TLS, by the program's own will.
        if self._sslobj is not None and not hasattr(self, "peer_name"):
            self.do_handshake()


class FollowingContext(ssl.SSLContext):
    """Hands out connections of what `current` returns.

    In itself it has neither certificate nor roots: when a library looks past `wrap_socket` and `wrap_bio`,
    its handshakes fail.
    """

    _current: Callable[[], ssl.SSLContext]
    _judged: tuple[type[JudgedObject], type[JudgedSocket]]
    _alpn: list[str] | None

    def __new__(cls, server_side: bool, _current: Callable[[], ssl.SSLContext], _judge: Judge) -> Self:
        return super().__new__(cls, ssl.PROTOCOL_TLS_SERVER if server_side else ssl.PROTOCOL_TLS_CLIENT)

    def __init__(self, server_side: bool, current: Callable[[], ssl.SSLContext], judge: Judge) -> None:
        """`current` returns one and the same context until the identity changes."""
        self.check_hostname = False
        self.verify_mode = ssl.CERT_REQUIRED
        self._current = current
        self._alpn = None
        named: dict[str, Any] = {"judge": staticmethod(judge)}
        self._judged = (
            type("JudgedObject", (JudgedObject,), named),
            type("JudgedSocket", (JudgedSocket,), {**named, "made_by": self}),
        )

    def set_alpn_protocols(self, alpn_protocols: Iterable[str]) -> None:
        """As of ssl.SSLContext, for connections from now on."""
        self._alpn = list(alpn_protocols)
        super().set_alpn_protocols(self._alpn)

    def wrap_socket(self, *arguments: Any, **options: Any) -> JudgedSocket:
        """As of ssl.SSLContext. Raises ssl.SSLError, also when the peer's name is refused."""
        connection = self._inner().wrap_socket(*arguments, **options)
        assert isinstance(connection, JudgedSocket)  # noqa: S101 - for mypy; `_inner` has set the class
        return connection

    def wrap_bio(self, *arguments: Any, **options: Any) -> JudgedObject:
        """As of ssl.SSLContext; its handshake raises ssl.SSLError, also when the peer's name is refused."""
        connection = self._inner().wrap_bio(*arguments, **options)
        assert isinstance(connection, JudgedObject)  # noqa: S101 - for mypy; `_inner` has set the class
        return connection

    def _inner(self) -> ssl.SSLContext:
        inner = self._current()
        inner.sslobject_class, inner.sslsocket_class = self._judged
        if self._alpn is not None:
            inner.set_alpn_protocols(self._alpn)
        return inner
