"""The certificate request for the agent's issuing key. It contains every extension that the certificate must
have, because authorities such as cert-manager's copy them from the request."""

from __future__ import annotations

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from blessings import Name, Principal


def certificate_request(issuing: Principal, prefix: Name) -> str:
    """PKCS #10 in PEM for a signing certificate of `prefix` with path length 1."""
    key = issuing.signing_key
    subject = x509.Name([x509.NameAttribute(NameOID.DOMAIN_COMPONENT, one) for one in prefix.components])
    usage = x509.KeyUsage(
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )
    names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(prefix.trust_domain)])
    return (
        x509.CertificateSigningRequestBuilder()
        .subject_name(subject)
        .add_extension(x509.BasicConstraints(ca=True, path_length=1), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(names, critical=False)
        .sign(key, hashes.SHA256() if isinstance(key, ec.EllipticCurvePrivateKey) else None)
        .public_bytes(Encoding.PEM)
        .decode()
    )
