"""Certificate chains in PEM (RFC 7468) and in concatenated DER, the Workload API's format."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable
from functools import lru_cache

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from blessings.errors import InvalidCertificate

# One byte for the tag, one for the length's form, and up to 4 for the length.
_MAX_DER_HEADER = 6
_PEM_LINE = 64
_PEM_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)


def parse_pem_chain(pem: str | bytes) -> tuple[x509.Certificate, ...]:
    """The certificates of a PEM text, in its order. Raises InvalidCertificate when there is none."""
    # JSON can contain half of a surrogate pair; it becomes a byte that PEM does not allow.
    data = pem.encode(errors="replace") if isinstance(pem, str) else pem
    try:
        return tuple(x509.load_pem_x509_certificates(data))
    except (ValueError, x509.InvalidVersion) as error:
        for position, one in enumerate(_PEM_CERTIFICATE.findall(data)):
            _check_pem(one, position)
        raise InvalidCertificate(f"this is no PEM certificate chain: {error}") from error


def to_pem(certificates: Iterable[x509.Certificate]) -> str:
    """The PEM texts of the certificates, one after the other."""
    return "".join(_pem_of(certificate) for certificate in certificates)


def pem_of_der(der: bytes) -> str:
    """The PEM text of a certificate's DER (RFC 7468, section 5)."""
    text = base64.b64encode(der).decode()
    lines = [text[at : at + _PEM_LINE] for at in range(0, len(text), _PEM_LINE)]
    return "\n".join(("-----BEGIN CERTIFICATE-----", *lines, "-----END CERTIFICATE-----", ""))


# Most of these certificates are issuers and roots, written again with each certificate under them, and
# `cryptography` encodes a certificate anew each time.
@lru_cache(maxsize=256)
def _pem_of(certificate: x509.Certificate) -> str:
    return pem_of_der(_der_of(certificate))


@lru_cache(maxsize=256)
def _der_of(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.DER)


def parse_der(der: bytes) -> x509.Certificate:
    """The certificate that `der` encodes. Raises InvalidCertificate."""
    try:
        return x509.load_der_x509_certificate(der)
    except (ValueError, x509.InvalidVersion) as error:
        raise InvalidCertificate(f"this is no DER certificate: {error}", field="encoding") from error


def parse_der_chain(der: bytes) -> tuple[x509.Certificate, ...]:
    """The certificates of concatenated DER, the Workload API's format. Raises InvalidCertificate."""
    certificates: list[x509.Certificate] = []
    at = 0
    while at < len(der):
        try:
            end = at + _der_length(der[at : at + _MAX_DER_HEADER], len(der) - at)
            certificates.append(parse_der(der[at:end]))
        except InvalidCertificate as error:
            raise error.at(len(certificates)) from error
        at = end
    if not certificates:
        raise InvalidCertificate("this is no DER certificate chain: it is empty")
    return tuple(certificates)


def to_der(certificates: Iterable[x509.Certificate]) -> bytes:
    """The DER encodings of the certificates, one after the other."""
    return b"".join(_der_of(certificate) for certificate in certificates)


def _check_pem(pem: bytes, position: int) -> None:
    try:
        x509.load_pem_x509_certificate(pem)
    except (ValueError, x509.InvalidVersion) as error:
        raise InvalidCertificate(
            f"this is no PEM certificate: {error}", field="encoding", certificate=position
        ) from error


def _der_length(data: bytes, available: int) -> int:
    """The length in bytes of the DER SEQUENCE at the start of `data`, with its header (X.690, 8.1.3)."""
    octets = data[1] & 0x7F if len(data) > 1 and data[1] & 0x80 else 0
    header = 2 + octets
    if len(data) < header or data[0] != 0x30 or octets > 4 or data[1] == 0x80:
        raise InvalidCertificate("a DER certificate begins with a SEQUENCE and its length", field="encoding")
    length = header + (int.from_bytes(data[2:header], "big") if octets else data[1])
    if length > available:
        raise InvalidCertificate(f"its header states {length} bytes, there are {available}", field="encoding")
    return length
