"""A typed client of the agent protocol, for the application's side of the socket.

agent = AgentClient()                 # the socket in V23_AGENT_PATH
agent.names()                         # [Name('acme:prod:shop:web:web-1')]
agent.sign(b"message").signature
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from types import TracebackType
from typing import Any, Self

import httpx

from agent_client import messages
from agent_client.messages import Presentation, ServedBlessing, Signature
from blessings import (
    Blessing,
    BlessingStore,
    Caveat,
    Discharges,
    Name,
    Pattern,
    PublicKey,
    RevocationLists,
    Roots,
)


class AgentClient:
    """Calls the pod agent. `path` is its agent.sock; the default is the value of V23_AGENT_PATH."""

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        timeout_seconds: float = messages.TIMEOUT_SECONDS,
    ) -> None:
        """Raises AgentError when there is neither `path` nor the variable."""
        transport = httpx.HTTPTransport(uds=messages.socket_path(path))
        self._client = httpx.Client(transport=transport, base_url=messages.BASE_URL, timeout=timeout_seconds)

    def names(self) -> list[Name]:
        """The names that the pod has now. Raises AgentError."""
        return messages.names(self._call("GET", "/v1/names"))

    def chain(self) -> ServedBlessing:
        """The blessing that is served now. Raises AgentError."""
        return ServedBlessing.parse(self._call("GET", "/v1/chain"))

    def roots(self) -> Roots:
        """The roots for verifying peers. Raises AgentError."""
        return Roots.from_json(self._call("GET", "/v1/roots")["roots"])

    def revocation_lists(self, application: Name) -> RevocationLists:
        """The revocation lists of that application; none when it has none. For verifying peers, `PeerLists`
        keeps them. Raises AgentError, InvalidRevocationList."""
        answer = self.revocation_lists_since(application, None)
        return RevocationLists() if answer is None else answer[1]

    def revocation_lists_since(
        self, application: Name, version: str | None
    ) -> tuple[str, RevocationLists] | None:
        """The application's lists and their version; None when that is `version`. Raises AgentError,
        InvalidRevocationList."""
        headers = {"If-None-Match": version} if version else {}
        return messages.lists(self._request("GET", f"/v1/crl/{application}", headers=headers))

    def sign(self, message: bytes) -> Signature:
        """Signs with the pod's key, which stays in the pod agent. Raises AgentError."""
        return Signature.parse(self._call("POST", "/v1/sign", messages.sign_request(message)))

    def bless(
        self, public_key: PublicKey, extension: str, *, lifetime: timedelta, caveats: Sequence[Caveat] = ()
    ) -> Blessing:
        """Makes a delegate: another key with the pod's name followed by `extension`. Raises AgentError.

        `lifetime` is in whole seconds, starts now by the agent's clock, and never outlives the pod's
        blessing.
        """
        body = messages.bless_request(public_key, extension, lifetime, caveats)
        return Blessing.from_pem(self._call("POST", "/v1/bless", body)["chain"])

    def blessings(self) -> BlessingStore:
        """The pod's own blessing, and those kept for peers. Raises AgentError."""
        return messages.store(self._call("GET", "/v1/blessings"))

    def presentation(self, peer: Name) -> Presentation:
        """What to show to that peer. Raises AgentError."""
        return Presentation.parse(self._call("GET", messages.peer_path(peer)))

    def keep_for_peers(
        self, pattern: Pattern, blessing: Blessing, discharges: Discharges = messages.NO_DISCHARGES
    ) -> Presentation:
        """Keeps a blessing that was granted to the pod's key, to be shown to peers that match the pattern.
        The pod agent has it until its next renewal, whose key is another one. Raises AgentError."""
        body = messages.peer_request(blessing, discharges)
        return Presentation.parse(self._call("PUT", messages.peer_path(pattern), body))

    def forget_for_peers(self, pattern: Pattern) -> None:
        """Raises AgentError, also when nothing is kept for that pattern."""
        self._call("DELETE", messages.peer_path(pattern))

    def watch(self, after: int = 0) -> Iterator[ServedBlessing]:
        """The current blessing, unless its version is `after` or lower, then each later one. Raises
        AgentError.

        Versions start again from 1 when the pod agent restarts: when this ends, watch again without `after`.
        A pod agent that sends nothing for half a minute counts as gone: AgentError.
        """
        try:
            with self._client.stream("GET", "/v1/watch", **messages.watch_options(after)) as response:
                for line in response.iter_lines():
                    if (served := messages.watched(line)) is not None:
                        yield served
        except httpx.HTTPError as error:
            raise messages.unreachable(error, "the pod agent's stream ended") from error

    def close(self) -> None:
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _call(self, method: str, path: str, body: Mapping[str, object] | None = None) -> dict[str, Any]:
        return messages.document(self._request(method, path, json=body))

    def _request(self, method: str, path: str, **options: Any) -> httpx.Response:
        try:
            return self._client.request(method, path, **options)
        except httpx.HTTPError as error:
            raise messages.unreachable(error) from error
