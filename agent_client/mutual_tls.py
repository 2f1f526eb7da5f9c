"""Mutual TLS by name, with the identity that the pod agent serves, for programs in Python.

    from agent_client.mutual_tls import MutualTLS

    tls = MutualTLS()                                      # waits for the Pod's first blessing
    httpx.Client(verify=tls.client("acme:prod:shop:api"))  # speaks with replicas of that application only
    uvicorn.run(app, port=8443, ssl_context_factory=lambda *_: tls.server("acme:prod:shop:web"))

The contexts follow each rotation: they need not be made again. Needs the extra `mutual-tls`, for the client
of the SPIFFE Workload API.
"""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from types import TracebackType
from typing import Self

from cryptography.hazmat.primitives.asymmetric import ec
from spiffe import X509Source
from spiffe.errors import PySpiffeError
from spiffe.workloadapi.x509_context import X509Context

from agent_client.client import AgentClient
from agent_client.following_context import FollowingContext
from agent_client.messages import AgentError
from agent_client.peer_lists import PeerLists
from blessings import (
    SVIDS_ONLY,
    Blessing,
    BlessingsError,
    InvalidName,
    Name,
    Pattern,
    Policy,
    Principal,
    Roots,
    TrustBundle,
    verify_blessing,
)
from blessings.tls import client_context, require_peer_blessing, server_context

_WAIT_SECONDS = 30.0
# A handshake waits for the pod agent's answer about a peer's revocation list, which takes a millisecond.
_LISTS_SECONDS = 2.0


@dataclass(frozen=True)
class ServedIdentity:
    """A key, its blessing, and the roots for verifying peers, as they were served together."""

    principal: Principal
    blessing: Blessing
    roots: Roots


class MutualTLS:
    """The pod's identity for connections, for use by several threads and event loops."""

    def __init__(
        self,
        *,
        workload_socket: str | None = None,
        agent: AgentClient | None = None,
        policy: Policy = SVIDS_ONLY,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        wait_seconds: float = _WAIT_SECONDS,
    ) -> None:
        """Waits at most `wait_seconds` for the first blessing. Raises AgentError.

        workload_socket: `unix://` and a path, by default the value of SPIFFE_ENDPOINT_SOCKET.
        agent: is asked for the revocation lists of peers, unless `policy` has a source of its own. By default
            one for the socket in V23_AGENT_PATH, which `close` closes.
        policy: what a peer's chain must be. By default delegates are refused.
        """
        self._now = now
        self._policy = policy
        self._agent = agent or AgentClient(timeout_seconds=_LISTS_SECONDS)
        self._closes_agent = agent is None
        if policy.revocation is SVIDS_ONLY.revocation:
            self._policy = replace(policy, revocation=PeerLists(self._agent))
        self._lock = threading.Lock()
        try:
            self._source = X509Source(socket_path=workload_socket, timeout_in_seconds=wait_seconds)
            self._served = self._source.get_x509_context()
            self._identity = _identity(self._served)
        except PySpiffeError as error:
            if self._closes_agent:
                self._agent.close()
            raise AgentError("NoIdentity", f"no blessing from the Workload API: {error}") from error

    @property
    def identity(self) -> ServedIdentity:
        """What is served now. Raises AgentError when the pod agent has refused to serve this process."""
        try:
            served = self._source.get_x509_context()
        except PySpiffeError as error:
            raise AgentError("NoIdentity", f"no blessing from the Workload API: {error}") from error
        with self._lock:
            if not _same(served, self._served):
                self._served, self._identity = served, _identity(served)
            return self._identity

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
        if self._closes_agent:
            self._agent.close()

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
            return verify_blessing(peer, self.identity.roots, now=self._now(), policy=self._policy)
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


def _identity(served: X509Context) -> ServedIdentity:
    """Raises AgentError when the key is of a kind that we never serve."""
    svid = served.default_svid
    if not isinstance(svid.private_key, ec.EllipticCurvePrivateKey):
        raise AgentError("NoIdentity", f"expected an EC key, got {type(svid.private_key).__name__}")
    roots = Roots(())
    for bundle in served.x509_bundle_set.bundles:
        certificates = tuple(bundle.x509_authorities)
        if bundle.trust_domain == svid.spiffe_id.trust_domain:
            roots += Roots.of(*certificates)
            continue
        try:  # a federated root proves names of its own trust domain only
            roots += TrustBundle(Name.parse(bundle.trust_domain.name), certificates).roots
        except InvalidName:
            continue  # a domain whose peers have no blessing name
    return ServedIdentity(Principal(svid.private_key), Blessing(tuple(svid.cert_chain)), roots)


def _same(one: X509Context, other: X509Context) -> bool:
    return one.default_svid is other.default_svid and _authorities(one) == _authorities(other)


def _authorities(served: X509Context) -> set[object]:
    bundles = served.x509_bundle_set.bundles
    return {(bundle.trust_domain.name, frozenset(bundle.x509_authorities)) for bundle in bundles}
