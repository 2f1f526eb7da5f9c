"""The request that is arriving on a connection: HTTP/1.1, read in C by httptools, and bounded.

Its method, path and headers decide what becomes of it. The body is kept for a review only.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import httptools

from webhook import body as bodies
from webhook.errors import BadRequestError
from webhook.reasons import AdmissionReason

PATH = b"/mutate"
_LONGEST_HEAD = 16 * 1024
# An API server sends ten. As objects, the shortest headers take thirty times their bytes.
_MOST_HEADERS = 64


class Owner(Protocol):
    """The connection. All of this is called within `feed`."""

    def begin(self) -> None:
        """A request begins."""

    def end_after_answer(self) -> None:
        """There is no further request on this connection."""

    def ask_for_body(self) -> None:
        """The client waits to be asked (RFC 9110, section 10.1.1)."""

    def refuse(self, error: BadRequestError) -> None:
        """The request is not one that is served. It calls `let_go`."""

    def complete(self) -> None:
        """All of the request is there."""


class ArrivingRequest:
    """The current request of a connection, or the one before it.

    Attributes:
        is_arriving: whether it has begun and is not complete.
        is_review: whether it is a review, as its head states.
        is_refused: answered already, and the rest of it is thrown away.
        body: of a review; what has come of it.
        size: the body's, in bytes.
        began: when its head was complete, by the clock; 0 before that.
    """

    __deletable__ = ("_owner", "_parser")  # mypyc wants to know

    def __init__(self, owner: Owner, clock: Callable[[], float]) -> None:
        self._owner = owner
        self._clock = clock
        self._parser = httptools.HttpRequestParser(self)
        self.is_arriving = False
        self.is_review = False
        self.is_refused = False
        self.url = b""
        self.headers: list[tuple[bytes, bytes]] = []
        self.body: bytes | bytearray = b""
        self.size = 0
        self.began = 0.0
        self._has_head = False
        self._head_bytes = 0

    @property
    def method(self) -> bytes:
        return self._parser.get_method()

    @property
    def held(self) -> int:
        """The bytes that are held for it."""
        return self.size + (self._head_bytes if self.is_arriving else 0)

    def feed(self, data: memoryview) -> None:
        """Reads the next bytes of the connection.

        Raises:
            BadRequestError: nothing can be read after them.
            httptools.HttpParserCallbackError: an error of ours.
        """
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._owner.end_after_answer()  # what follows is another protocol, which is not spoken here
        except httptools.HttpParserCallbackError:
            raise
        except httptools.HttpParserError as error:
            message = "this is not HTTP/1.1"
            raise BadRequestError(400, AdmissionReason.INVALID_HTTP, message) from error
        if self.is_arriving:
            self._head_bytes += len(data)
            if self._head_bytes > _LONGEST_HEAD:
                raise _head_too_large()

    def let_go(self) -> None:
        """Keeps nothing of the body any longer."""
        self.body = b""
        self.size = 0

    def end(self) -> None:
        """Nothing more comes. Without the circle to the parser, this object is gone at once, and not when
        garbage is collected."""
        self.let_go()
        del self._parser, self._owner

    # httptools

    def on_message_begin(self) -> None:
        self._owner.begin()
        self.is_arriving, self.is_review, self.is_refused, self._has_head = True, False, False, False
        self._head_bytes = 0
        self.url = b""
        self.headers = []
        self.began = 0.0

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._has_head or self.is_refused:
            return  # a trailer, or what is thrown away
        if len(self.headers) == _MOST_HEADERS:
            self._owner.refuse(_head_too_large())
        else:
            self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        self._has_head = True
        if self.is_refused:
            return
        self.began = self._clock()
        if not self._parser.should_keep_alive():
            self._owner.end_after_answer()
        if self.url.partition(b"?")[0] != PATH:
            return
        if self.method != b"POST":
            message = "an AdmissionReview is sent by POST"
            self._owner.refuse(BadRequestError(405, AdmissionReason.METHOD_NOT_ALLOWED, message))
            return
        try:
            bodies.check_head(self.headers)
        except BadRequestError as error:
            self._owner.refuse(error)
            return
        self.is_review = True
        if (b"expect", b"100-continue") in self.headers:
            self._owner.ask_for_body()

    def on_body(self, chunk: bytes) -> None:
        # All else is head: the parser keeps a trailer until its end, and copies it with each further part.
        self._head_bytes -= len(chunk)
        if not self.is_review or self.is_refused:
            return  # pages need none
        self.size += len(chunk)
        if self.size > bodies.LIMIT:
            self._owner.refuse(bodies.too_large())
        elif not self.body:
            self.body = chunk  # nearly always the only one
        else:
            if isinstance(self.body, bytes):
                self.body = bytearray(self.body)
            self.body += chunk  # one block, because an object for each of many small chunks takes far more

    def on_message_complete(self) -> None:
        self.is_arriving = False
        self._owner.complete()


def _head_too_large() -> BadRequestError:
    return BadRequestError(431, AdmissionReason.HEAD_TOO_LARGE, "the head is too large")
