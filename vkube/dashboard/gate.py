"""Which requests are answered. Loopback alone does not protect the page: every user and every program of the
machine can connect to it, and so can every site that is open in the user's browser.

| attack | check |
|---|---|
| a site gives its own name the address 127.0.0.1 (DNS rebinding) and reads us as itself | Host |
| a site calls us from its own pages, or frames us | Origin, Sec-Fetch-Site, and frame-ancestors |
| another user of the machine connects to the port | a token in the path |

A cookie would not do in place of the path: a browser sends it to every port of 127.0.0.1, and so to the
server of another user.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; form-action 'self'; "
        "base-uri 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
"""Of every answer, also of refusals."""


@dataclass(frozen=True)
class Request:
    """What is looked at. The names of the headers are in lower case."""

    path: str
    headers: Sequence[tuple[str, str]]

    def values(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key == name]


@dataclass(frozen=True)
class Refused:
    """The status and the text of a refusal."""

    status: int
    reason: str


class Gate:
    """Decides on each request to the page at `port`, whose path begins with `token`."""

    def __init__(self, port: int, token: str) -> None:
        self._hosts = (f"127.0.0.1:{port}", f"localhost:{port}")
        self._token = token

    def refusal(self, request: Request) -> Refused | None:
        """Why the request is refused; None when it is answered."""
        return next(self._refusals(request), None)

    def _refusals(self, request: Request) -> Iterator[Refused]:
        checks: tuple[Callable[[Request], Refused | None], ...] = (
            self._host,
            self._origin,
            self._site,
            self._secret,
        )
        for check in checks:
            if (refused := check(request)) is not None:
                yield refused

    def _host(self, request: Request) -> Refused | None:
        hosts = request.values("host")
        if len(hosts) == 1 and hosts[0] in self._hosts:
            return None
        return Refused(421, f"this is {' or '.join(self._hosts)}, and no other host")

    def _origin(self, request: Request) -> Refused | None:
        ours = [f"http://{host}" for host in self._hosts]
        if all(origin in ours for origin in request.values("origin")):
            return None
        return Refused(403, "another site may not call the dashboard")

    def _site(self, request: Request) -> Refused | None:
        # A link from anywhere may be followed, because only the token's holder can make it. All else comes
        # from the page itself. Browsers that send none of these headers are left to the other checks.
        if all(site in ("same-origin", "none") for site in request.values("sec-fetch-site")):
            return None
        if request.values("sec-fetch-dest") == ["document"]:
            return None
        return Refused(403, "another site may not embed or fetch the dashboard")

    def _secret(self, request: Request) -> Refused | None:
        given = request.path.removeprefix("/").partition("/")[0]
        if hmac.compare_digest(given.encode("utf-8", "surrogateescape"), self._token.encode()):
            return None
        return Refused(404, "there is nothing here: open the URL that vkube dashboard printed")
