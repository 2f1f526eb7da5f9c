"""The pod's identity from the SPIFFE Workload API of the pod agent beside the application.

Needs the extra `mutual-tls`, for the client of the SPIFFE Workload API.
"""

from __future__ import annotations

import os
import threading

from cryptography.hazmat.primitives.asymmetric import ec
from spiffe import X509Source
from spiffe.errors import PySpiffeError
from spiffe.workloadapi.x509_context import X509Context

from agent_client.messages import AgentError
from agent_client.served_identity import ServedIdentity
from blessings import Blessing, InvalidName, Name, Principal, Roots, TrustBundle


class WorkloadIdentity:
    """Implements `IdentitySource`."""

    def __init__(self, socket: str | None, wait_seconds: float) -> None:
        """Waits at most `wait_seconds` for the first blessing. Raises AgentError.

        socket: `unix://` and a path, by default the value of SPIFFE_ENDPOINT_SOCKET.
        """
        self._lock = threading.Lock()
        self._process = os.getpid()
        try:
            self._source = X509Source(socket_path=socket, timeout_in_seconds=wait_seconds)
            self._served = self._source.get_x509_context()
        except PySpiffeError as error:
            raise _no_identity(error) from error
        self._identity = _identity(self._served)

    def identity(self) -> ServedIdentity:
        """Raises AgentError when the pod agent has refused to serve this process, and in a process that was
        forked since: the stream that brings the next identity is its parent's."""
        if os.getpid() != self._process:
            raise AgentError("Forked", "made before this process was forked: make it anew in each process")
        try:
            served = self._source.get_x509_context()
        except PySpiffeError as error:
            raise _no_identity(error) from error
        with self._lock:
            if not _same(served, self._served):
                self._served, self._identity = served, _identity(served)
            return self._identity

    def close(self) -> None:
        self._source.close()


def _no_identity(error: PySpiffeError) -> AgentError:
    return AgentError("NoIdentity", f"no blessing from the Workload API: {error}")


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
