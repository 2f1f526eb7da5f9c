"""FetchX509SVID and FetchX509Bundles: the current state, then each change of it, until either side ends the
stream.

All streams send the same bytes, encoded once. A stream is sent an answer only when it differs from the
previous one: programs such as spiffe-helper reload their application each time. Of the revocation lists an
answer contains those of the Pod's own application, as far as they fit, so that what is revoked elsewhere
neither changes it nor makes it larger than clients read.
"""

from __future__ import annotations

from collections.abc import Callable

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from google.protobuf.message import Message
from grpclib.const import Status
from grpclib.exceptions import GRPCError
from grpclib.server import Stream

from pod_agent.identity import CurrentIdentity, Identity
from pod_agent.workload.bounds import framed, receive, send
from pod_agent.workload.protocol.workload_grpc import SpiffeWorkloadAPIBase
from pod_agent.workload.protocol.workload_pb2 import (
    X509SVID,
    X509BundlesRequest,
    X509BundlesResponse,
    X509SVIDRequest,
    X509SVIDResponse,
)

# A quarter of what clients of gRPC read by default.
MOST_ANSWER_BYTES = 1 << 20
# A field's number and length.
_MOST_FIELD_BYTES = 6
# Workload Endpoint, section 6.1: the header proves that the client is not a tricked HTTP client.
_SECURITY_HEADER = "workload.spiffe.io"


class WorkloadAPI(SpiffeWorkloadAPIBase):
    """Serves the current identity."""

    def __init__(self, current: CurrentIdentity) -> None:
        self._current = current

        self._svids = _Encoded(svid_response)
        self._bundles = _Encoded(bundles_response)

    async def FetchX509SVID(self, stream: Stream[X509SVIDRequest, X509SVIDResponse]) -> None:  # noqa: N802
        await self._answer(stream, self._svids)

    async def FetchX509Bundles(  # noqa: N802
        self, stream: Stream[X509BundlesRequest, X509BundlesResponse]
    ) -> None:
        await self._answer(stream, self._bundles)

    async def _answer(
        self,
        stream: Stream[X509SVIDRequest, X509SVIDResponse] | Stream[X509BundlesRequest, X509BundlesResponse],
        encoded: _Encoded,
    ) -> None:
        metadata = stream.metadata
        if metadata is None or metadata.get(_SECURITY_HEADER) != "true":
            raise GRPCError(
                Status.INVALID_ARGUMENT, f"security header missing: send metadata {_SECURITY_HEADER}: true"
            )
        await receive(stream)
        if self._current.value is None:
            # Workload API, section 5.2.1: the client has no identity (yet); clients try again.
            raise GRPCError(Status.PERMISSION_DENIED, "no identity issued yet")
        sent = None
        async for identity, lists in self._current.revisions():
            message = encoded.of(identity, lists)
            if message != sent:
                await send(stream, message)
                sent = message
        if self._current.value is None:
            # Without this, the client would go on to present an expired SVID. It asks again.
            raise GRPCError(Status.PERMISSION_DENIED, "the identity has expired")


class _Encoded:
    """The newest answer of one method: the same bytes for all streams."""

    def __init__(self, response: Callable[[Identity, tuple[bytes, ...]], Message]) -> None:
        self._response = response
        self._of: tuple[Identity, tuple[bytes, ...]] | None = None
        self._message = b""

    def of(self, identity: Identity, lists: tuple[bytes, ...]) -> bytes:
        if self._of is None or self._of[0] is not identity or self._of[1] is not lists:
            message = framed(self._response(identity, lists).SerializeToString(deterministic=True))
            if message != self._message:
                self._message = message
            self._of = (identity, lists)
        return self._message


def svid_response(identity: Identity, lists: tuple[bytes, ...]) -> X509SVIDResponse:
    """The answer with `identity`, and with those revocation lists that fit."""
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
    response = X509SVIDResponse(svids=[svid], federated_bundles=all_bundles)
    response.crl.extend(_fitting(lists, response.ByteSize()))
    return response


def bundles_response(identity: Identity, lists: tuple[bytes, ...]) -> X509BundlesResponse:
    """The answer with the bundles of `identity`, and with those revocation lists that fit."""
    response = X509BundlesResponse(bundles=bundles(identity))
    response.crl.extend(_fitting(lists, response.ByteSize()))
    return response


def _fitting(lists: tuple[bytes, ...], taken: int) -> list[bytes]:
    fitting = []
    for one in lists:
        size = len(one) + _MOST_FIELD_BYTES
        if taken + size <= MOST_ANSWER_BYTES:
            fitting.append(one)
            taken += size
    return fitting


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
