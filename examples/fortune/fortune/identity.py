"""This replica's identity, in contexts that demand no name: a stranger may read the interface,
and a call needs a name (`peer_name`)."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime

from agent_client.mutual_tls import MutualTLS
from blessings import Name, Pattern, Roots, verify_blessing
from blessings.tls import client_context, require_peer_blessing, server_context


class ReplicaIdentity:
    """The current key, blessing and roots. Each new connection takes them from `server` or `client`."""

    def __init__(self) -> None:
        """Waits for the first blessing, on the socket or in the files that the environment names. Raises
        AgentError."""
        self._tls = MutualTLS()
        self.policy = self._tls.policy  # refuses revoked peers
        self.name: Name = self._tls.name

    @property
    def roots(self) -> Roots:
        return self._tls.identity.roots

    def server(self) -> ssl.SSLContext:
        """For one connection: it presents the blessing that is served now."""
        now = self._tls.identity
        return server_context(now.principal, now.blessing, now.roots, client_certificate=ssl.CERT_OPTIONAL)

    def client(self) -> ssl.SSLContext:
        """As `server`."""
        now = self._tls.identity
        return client_context(now.principal, now.blessing, now.roots)

    def close(self) -> None:
        self._tls.close()


def peer_name(connection: ssl.SSLSocket, identity: ReplicaIdentity) -> Name:
    """The peer's valid name. Raises VerificationError, or InvalidCertificate when it presented nothing."""
    peer = require_peer_blessing(connection)
    return verify_blessing(peer, identity.roots, now=datetime.now(UTC), policy=identity.policy)


def own_application(name: Name) -> Pattern:
    """A pattern that matches every replica of the same application as `name`."""
    return Pattern(Name(name.components[:-1]))
