"""The secrets of one identity, as Envoy's messages.

Roots are given to Envoy's SPIFFE validator, which accepts from the roots of a trust domain the SPIFFE IDs of
that domain alone. Its plain validator would accept every name from each root.
"""

from __future__ import annotations

from collections.abc import Iterable

from blessings.encoding.chains import parse_der_chain, to_pem
from pod_agent.grpc.messages import bytes_field, text_field
from pod_agent.identity import Identity
from pod_agent.workload.x509 import bundles

_TLS = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3"
TYPE_URL = f"{_TLS}.Secret"
OWN_CERTIFICATE, OWN_ROOTS, ALL_ROOTS = "default", "ROOTCA", "ALL"


class Secrets:
    """The secrets of `identity`, each encoded once for all streams."""

    def __init__(self, identity: Identity) -> None:
        self.identity = identity
        self._encoded: dict[str, bytes] = {}
        # Those of the Workload API, so that both recognise the same peers.
        self._bundles = {
            domain: to_pem(parse_der_chain(roots)).encode()
            for domain, roots in bundles(identity).items()
            if roots
        }

    @property
    def names(self) -> tuple[str, ...]:
        """Those that a request without names is answered with: one name for each secret."""
        return (self.identity.name.spiffe_id, *self._bundles)

    def find(self, name: str) -> bytes | None:
        """The secret of that name, as a google.protobuf.Any; None when there is none."""
        if name not in self._encoded:
            secret = self._secret(name)
            if secret is None:
                return None
            self._encoded[name] = _any(TYPE_URL, text_field(1, name) + secret)
        return self._encoded[name]

    def _secret(self, name: str) -> bytes | None:
        if name in (OWN_CERTIFICATE, self.identity.name.spiffe_id):
            return bytes_field(2, _tls_certificate(self.identity))
        if name == ALL_ROOTS:
            return bytes_field(4, _validation_context(sorted(self._bundles.items())))
        domain = self.identity.name.trust_domain if name == OWN_ROOTS else name
        bundle = self._bundles.get(domain)
        return None if bundle is None else bytes_field(4, _validation_context([(domain, bundle)]))


def _tls_certificate(identity: Identity) -> bytes:
    chain = identity.blessing.to_pem().encode()
    return bytes_field(1, _inline(chain)) + bytes_field(2, _inline(identity.principal.to_pem()))


def _validation_context(bundles: Iterable[tuple[str, bytes]]) -> bytes:
    """A CertificateValidationContext for the trust domains with these bundles."""
    domains = b"".join(
        bytes_field(1, text_field(1, domain.removeprefix("spiffe://")) + bytes_field(2, _inline(bundle)))
        for domain, bundle in bundles
    )
    configuration = _any(f"{_TLS}.SPIFFECertValidatorConfig", domains)
    return bytes_field(12, text_field(1, "envoy.tls.cert_validator.spiffe") + bytes_field(2, configuration))


def _inline(content: bytes) -> bytes:
    """A DataSource that contains the bytes themselves."""
    return bytes_field(2, content)


def _any(type_url: str, message: bytes) -> bytes:
    return text_field(1, type_url) + bytes_field(2, message)
