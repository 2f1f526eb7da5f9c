"""Mutual TLS by name, for programs in Python, with the identity that the pod agent serves, or that the
kubelet keeps in files.

    from agent_client.mutual_tls import MutualTLS

    tls = MutualTLS()                                      # waits for the Pod's first blessing
    httpx.Client(verify=tls.client("acme:prod:shop:api"))  # speaks with replicas of that application only
    uvicorn.run(app, port=8443, ssl_context_factory=lambda *_: tls.server("acme:prod:shop:web"))

The contexts follow each rotation: they need not be made again. Without files it needs the extra `mutual-tls`,
for the client of the SPIFFE Workload API.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from types import TracebackType
from typing import Self

from agent_client.client import AgentClient
from agent_client.following_context import FollowingContext
from agent_client.identity_files import IdentityFiles
from agent_client.messages import AgentError
from agent_client.peer_lists import PeerLists
from agent_client.published_lists import lists_of_environment
from agent_client.served_identity import IdentitySource, ServedIdentity
from blessings import (
    SVIDS_ONLY,
    BlessingsError,
    Name,
    Pattern,
    Policy,
    RevocationSource,
    verify_blessing,
)
from blessings.tls import client_context, require_peer_blessing, server_context

SOCKET_VARIABLE = "SPIFFE_ENDPOINT_SOCKET"
_WAIT_SECONDS = 30.0
# A handshake waits for the pod agent's answer about a peer's revocation list, which takes a millisecond.
_LISTS_SECONDS = 2.0


class MutualTLS:
    """The pod's identity for connections, for use by several threads and event loops."""

    def __init__(
        self,
        *,
        workload_socket: str | None = None,
        agent: AgentClient | None = None,
        files: IdentityFiles | None = None,
        policy: Policy = SVIDS_ONLY,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        wait_seconds: float = _WAIT_SECONDS,
    ) -> None:
        """Waits at most `wait_seconds` for the first blessing. Raises AgentError.

        workload_socket: `unix://` and a path, by default the value of SPIFFE_ENDPOINT_SOCKET.
        agent: is asked for the revocation lists of peers, unless `policy` has a source of its own. By default
            one for the socket in V23_AGENT_PATH, which `close` closes.
        files: the identity in files; by default those that the environment names, where it names no socket.
            Without `agent`, revocation lists then come from VANADIUM_REVOCATION_URL, or not at all.
        policy: what a peer's chain must be. By default delegates are refused.
        """
        self._now = now
        if workload_socket is None and agent is None and SOCKET_VARIABLE not in os.environ:
            files = files or IdentityFiles.of_environment()
        lists: RevocationSource
        self._closes: Callable[[], None] = lambda: None
        if agent is not None:
            lists = PeerLists(agent)
        elif files is not None:
            lists = lists_of_environment()
        else:
            own = AgentClient(timeout_seconds=_LISTS_SECONDS)
            lists, self._closes = PeerLists(own), own.close
        try:
            self._source: IdentitySource = files or _of_workload_api(workload_socket, wait_seconds)
        except AgentError:
            self._closes()
            raise
        has_own = policy.revocation is not SVIDS_ONLY.revocation
        self.policy = policy if has_own else replace(policy, revocation=lists)

    @property
    def identity(self) -> ServedIdentity:
        """What is served now. Raises AgentError when the pod agent has refused to serve this process."""
        return self._source.identity()

    @property
    def name(self) -> Name:
        """The pod's name. Raises AgentError."""
        return self.identity.blessing.presented

    def server(self, *allowed: str | Pattern) -> ssl.SSLContext:
        """A context that accepts connections of clients whose name matches one of `allowed`; without any, of
        replicas of the same application. TLS 1.3 with a client certificate. Raises InvalidPattern."""
        return self._context(True, allowed)

    def client(self, *expected: str | Pattern) -> ssl.SSLContext:
        """A context for connections to servers whose name matches one of `expected`; without any, to replicas
        of the same application. Host names are not checked, the name is. Raises InvalidPattern."""
        return self._context(False, expected)

    def close(self) -> None:
        """Ends the streams; contexts made here no longer make connections."""
        self._source.close()
        self._closes()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _context(self, server_side: bool, patterns: tuple[str | Pattern, ...]) -> FollowingContext:
        own = Pattern(Name(self.name.components[:-1]))
        accepted = tuple(one if isinstance(one, Pattern) else Pattern.parse(one) for one in patterns) or (
            own,
        )

        def made(identity: ServedIdentity) -> ssl.SSLContext:
            ours = identity.principal, identity.blessing, identity.roots
            if server_side:
                return server_context(*ours, client_certificate=ssl.CERT_REQUIRED)
            return client_context(*ours)

        def judge(connection: ssl.SSLObject | ssl.SSLSocket) -> Name:
            return self._judged(connection, accepted)

        return FollowingContext(server_side, _remembering(lambda: self.identity, made), judge)

    def _judged(self, connection: ssl.SSLObject | ssl.SSLSocket, accepted: tuple[Pattern, ...]) -> Name:
        """The peer's name. Raises ssl.SSLCertVerificationError."""
        try:
            peer = require_peer_blessing(connection)
            # Before anything is proven: a peer that is refused anyway must cost no question to the pod agent,
            # and take no place among the revocation lists of those that are expected.
            if not any(pattern.matches(peer.presented) for pattern in accepted):
                patterns = ", ".join(str(pattern) for pattern in accepted)
                raise ssl.SSLCertVerificationError(1, f"the peer is {peer.presented}, expected {patterns}")
            return verify_blessing(peer, self.identity.roots, now=self._now(), policy=self.policy)
        except (BlessingsError, AgentError) as error:
            raise ssl.SSLCertVerificationError(1, f"the peer proved no name: {error}") from error


def _remembering(
    identity: Callable[[], ServedIdentity], made: Callable[[ServedIdentity], ssl.SSLContext]
) -> Callable[[], ssl.SSLContext]:
    """Makes the context for an identity once."""
    kept: tuple[ServedIdentity, ssl.SSLContext] | None = None

    def current() -> ssl.SSLContext:
        nonlocal kept
        served, last = identity(), kept
        if last is None or last[0] is not served:
            last = kept = served, made(served)
        return last[1]

    return current


def _of_workload_api(socket: str | None, wait_seconds: float) -> IdentitySource:
    # Only here: it loads the client of the Workload API, which a program with files does not need.
    from agent_client.workload_identity import WorkloadIdentity

    return WorkloadIdentity(socket, wait_seconds)
