"""FetchX509SVID and FetchX509Bundles: the current state, then each rotation, until either side ends the
stream."""

from __future__ import annotations

from collections.abc import AsyncIterator

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from grpclib.const import Status
from grpclib.exceptions import GRPCError
from grpclib.server import Stream

from blessings import RevocationLists
from pod_agent.identity import CurrentIdentity, Identity
from pod_agent.workload.bounds import receive
from pod_agent.workload.protocol.workload_grpc import SpiffeWorkloadAPIBase
from pod_agent.workload.protocol.workload_pb2 import (
    X509SVID,
    X509BundlesRequest,
    X509BundlesResponse,
    X509SVIDRequest,
    X509SVIDResponse,
)

# Workload Endpoint, section 6.1: the header proves that the client is not a tricked HTTP client.
_SECURITY_HEADER = "workload.spiffe.io"


class WorkloadAPI(SpiffeWorkloadAPIBase):
    """Serves the current identity."""

    def __init__(self, current: CurrentIdentity) -> None:
        self._current = current

    async def FetchX509SVID(self, stream: Stream[X509SVIDRequest, X509SVIDResponse]) -> None:  # noqa: N802
        async for identity in self._identities(stream):
            await stream.send_message(svid_response(identity, self._current.lists))

    async def FetchX509Bundles(  # noqa: N802
        self, stream: Stream[X509BundlesRequest, X509BundlesResponse]
    ) -> None:
        async for identity in self._identities(stream):
            lists = ders(self._current.lists)
            await stream.send_message(X509BundlesResponse(bundles=bundles(identity), crl=lists))

    async def _identities(
        self,
        stream: Stream[X509SVIDRequest, X509SVIDResponse] | Stream[X509BundlesRequest, X509BundlesResponse],
    ) -> AsyncIterator[Identity]:
        metadata = stream.metadata
        if metadata is None or metadata.get(_SECURITY_HEADER) != "true":
            raise GRPCError(
                Status.INVALID_ARGUMENT, f"security header missing: send metadata {_SECURITY_HEADER}: true"
            )
        await receive(stream)
        if self._current.value is None:
            # Workload API, section 5.2.1: the client has no identity (yet); clients try again.
            raise GRPCError(Status.PERMISSION_DENIED, "no identity issued yet")
        async for identity in self._current.revisions():
            yield identity
        if self._current.value is None:
            # Without this, the client would go on to present an expired SVID. It asks again.
            raise GRPCError(Status.PERMISSION_DENIED, "the identity has expired")


def svid_response(identity: Identity, lists: RevocationLists) -> X509SVIDResponse:
    """The answer with `identity` and the revocation lists."""
    trust_domain = identity.name.trust_domain
    all_bundles = bundles(identity)
    svid = X509SVID(
        spiffe_id=identity.name.spiffe_id,
        x509_svid=b"".join(one.public_bytes(Encoding.DER) for one in identity.blessing.certificates),
        x509_svid_key=identity.principal.signing_key.private_bytes(
            Encoding.DER, PrivateFormat.PKCS8, NoEncryption()
        ),
        bundle=all_bundles.pop(trust_domain),
    )
    return X509SVIDResponse(svids=[svid], federated_bundles=all_bundles, crl=ders(lists))


def ders(lists: RevocationLists) -> list[bytes]:
    """The DER encoding of each list."""
    return [one.to_der() for one in lists.entries]


def bundles(identity: Identity) -> dict[str, bytes]:
    """Maps each trust domain to its roots, as concatenated DER.

    It contains only roots that are trusted for a whole domain. SPIFFE's bundles have no patterns, so clients
    would trust a root with a narrower pattern for every name.
    """
    found: dict[str, bytes] = {identity.name.trust_domain: b""}
    for root in identity.roots:
        pattern = root.pattern
        if pattern.name is None or pattern.exact or len(pattern.name.components) != 1:
            continue
        domain = pattern.name.trust_domain
        found[domain] = found.get(domain, b"") + root.certificate.public_bytes(Encoding.DER)
    return found
