"""The X.509-SVID profile, FetchX509SVID and FetchX509Bundles: the current state, then each change of it,
until either side ends the stream.

All streams send the same bytes, encoded once. A stream is sent an answer only when it differs from the
previous one: programs such as spiffe-helper reload their application each time. Of the revocation lists an
answer contains those of the Pod's own application, as far as they fit, so that what is revoked elsewhere
neither changes it nor makes it larger than clients read.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from pod_agent.errors import GrpcError
from pod_agent.grpc.call import Call, Method, framed
from pod_agent.grpc.messages import bytes_field, map_field, text_field
from pod_agent.grpc.status import Status
from pod_agent.identity import CurrentIdentity, Identity
from pod_agent.workload.security_header import check_security_header

# A quarter of what clients of gRPC read by default.
MOST_ANSWER_BYTES = 1 << 20
# A field's number and length.
_MOST_FIELD_BYTES = 6


class X509Profile:
    """Serves the current identity."""

    def __init__(self, current: CurrentIdentity) -> None:
        self._current = current

    def methods(self) -> dict[str, Method]:
        return {
            "/SpiffeWorkloadAPI/FetchX509SVID": partial(self._answer, _Encoded(svid_response)),
            "/SpiffeWorkloadAPI/FetchX509Bundles": partial(self._answer, _Encoded(bundles_response)),
        }

    async def _answer(self, encoded: _Encoded, call: Call) -> None:
        check_security_header(call)
        await call.message()  # it has no fields
        if self._current.value is None:
            # Workload API, section 5.2.1: the client has no identity (yet); clients try again.
            raise GrpcError(Status.PERMISSION_DENIED, "no identity issued yet")
        sent = None
        async for identity, lists in self._current.revisions():
            message = encoded.of(identity, lists)
            if message != sent:
                await call.send(message)
                sent = message
        if self._current.value is None:
            # Without this, the client would go on to present an expired SVID. It asks again.
            raise GrpcError(Status.PERMISSION_DENIED, "the identity has expired")


class _Encoded:
    """The newest answer of one method: the same bytes for all streams."""

    def __init__(self, response: Callable[[Identity, tuple[bytes, ...]], bytes]) -> None:
        self._response = response
        self._of: tuple[Identity, tuple[bytes, ...]] | None = None
        self._message = b""

    def of(self, identity: Identity, lists: tuple[bytes, ...]) -> bytes:
        if self._of is None or self._of[0] is not identity or self._of[1] is not lists:
            message = framed(self._response(identity, lists))
            if message != self._message:
                self._message = message
            self._of = (identity, lists)
        return self._message


def svid_response(identity: Identity, lists: tuple[bytes, ...]) -> bytes:
    """The X509SVIDResponse with `identity`, and with those revocation lists that fit."""
    all_bundles = bundles(identity)
    own_bundle = all_bundles.pop(identity.name.trust_domain)
    key = identity.principal.signing_key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    chain = b"".join(one.public_bytes(Encoding.DER) for one in identity.blessing.certificates)
    svid = (
        text_field(1, identity.name.spiffe_id)
        + bytes_field(2, chain)
        + bytes_field(3, key)
        + bytes_field(4, own_bundle)
    )
    identities, federated = bytes_field(1, svid), map_field(3, all_bundles)
    return identities + _fitting(2, lists, len(identities) + len(federated)) + federated


def bundles_response(identity: Identity, lists: tuple[bytes, ...]) -> bytes:
    """The X509BundlesResponse with the bundles of `identity`, and with those revocation lists that fit."""
    found = map_field(2, bundles(identity))
    return _fitting(1, lists, len(found)) + found


def _fitting(number: int, lists: tuple[bytes, ...], taken: int) -> bytes:
    """The field `number`, repeated for each list for which there is room."""
    fitting = []
    for one in lists:
        size = len(one) + _MOST_FIELD_BYTES
        if taken + size <= MOST_ANSWER_BYTES:
            fitting.append(bytes_field(number, one))
            taken += size
    return b"".join(fitting)


def bundles(identity: Identity) -> dict[str, bytes]:
    """Maps each trust domain to its roots, as concatenated DER.

    It contains only roots that are trusted for a whole domain, and federated ones for their own domain.
    """
    own = identity.name.trust_domain
    found = {own: b""} | {domain: one for domain, one in identity.bundles.roots.items() if domain != own}
    for domain, root in identity.whole_roots:
        found[domain] = found.get(domain, b"") + root.public_bytes(Encoding.DER)
    return found
