"""This replica's identity, from the SPIFFE Workload API by a client that knows nothing of blessings."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime

from cryptography.hazmat.primitives.asymmetric import ec
from spiffe import X509Source

from agent_client import AgentClient, PeerLists
from blessings import Blessing, Name, Pattern, Policy, Principal, Roots, verify_blessing
from blessings.tls import client_context, load_identity, require_peer_blessing, server_context

_TIMEOUT_SECONDS = 30.0


class ReplicaIdentity:
    """The current key, blessing and roots. Each new connection takes them from `server` or `client`."""

    def __init__(self) -> None:
        """Waits for the first blessing on the socket that SPIFFE_ENDPOINT_SOCKET names."""
        self._source = X509Source(timeout_in_seconds=_TIMEOUT_SECONDS)
        self._agent = AgentClient()
        self._peer_lists = PeerLists(self._agent)
        principal, blessing = self._current()
        self.name: Name = blessing.presented
        # Optional, because a stranger may read the interface; a call needs a name (`peer_name`).
        self.server: ssl.SSLContext = server_context(
            principal, blessing, self.roots, client_certificate=ssl.CERT_OPTIONAL
        )
        # A rotation changes the context in use: new connections present the new blessing, open ones stay.
        self._source.subscribe_for_updates(self._rotate)

    @property
    def policy(self) -> Policy:
        """Refuses revoked peers, by the pod agent's lists. The SPIFFE client itself keeps no lists."""
        return Policy(revocation=self._peer_lists)

    @property
    def roots(self) -> Roots:
        bundles = self._source.get_x509_context().x509_bundle_set.bundles
        return Roots.of(*(authority for bundle in bundles for authority in bundle.x509_authorities))

    def client(self) -> ssl.SSLContext:
        return client_context(*self._current(), self.roots)

    def _current(self) -> tuple[Principal, Blessing]:
        svid = self._source.get_x509_context().default_svid
        key = svid.private_key
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise TypeError(f"expected an EC key, got {type(key).__name__}")
        return Principal(key), Blessing(tuple(svid.cert_chain))

    def _rotate(self) -> None:
        principal, blessing = self._current()
        load_identity(self.server, blessing.to_pem(), principal.to_pem().decode())
        self.server.load_verify_locations(cadata=self.roots.to_pem())

    def close(self) -> None:
        self._source.close()
        self._agent.close()


def peer_name(connection: ssl.SSLSocket, identity: ReplicaIdentity) -> Name:
    """The peer's valid name. Raises VerificationError, or InvalidCertificate when it presented nothing."""
    peer = require_peer_blessing(connection)
    return verify_blessing(peer, identity.roots, now=datetime.now(UTC), policy=identity.policy)


def own_application(name: Name) -> Pattern:
    """A pattern that matches every replica of the same application as `name`."""
    return Pattern(Name(name.components[:-1]))
