"""Certificate revocation lists (RFC 5280, section 5): signing, reading and looking up.

    lists = RevocationLists.of(ders)
    policy = Policy(revocation=lists, without_list=WithoutList.REFUSE)
    verify_blessing(peer, roots, now=now, policy=policy)     # VerificationError: Revoked

A list applies to the certificates of its issuer only, identified by name and key: the key that signed the
certificate must also have signed the list. An expired list still proves that the certificates on it are
revoked; it proves nothing about the others.
"""

from __future__ import annotations

import binascii
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from functools import cached_property
from typing import Protocol

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtensionOID

from blessings.errors import InvalidRevocationList
from blessings.keys import PrivateKey, PublicKey, certificate_hash, encoded
from blessings.names import Name
from blessings.profile.certificates import BACKDATE, subject_of

_PEM_BEGIN, _PEM_END = b"-----BEGIN X509 CRL-----", b"-----END X509 CRL-----"
MAX_BYTES = 16 * 1024 * 1024
_MALFORMED = (ValueError, TypeError, UnsupportedAlgorithm, x509.DuplicateExtension, x509.InvalidVersion)


class WithoutList(StrEnum):
    """Whether a verifier accepts a leaf that no current revocation list covers.

    No list covers it when its issuer's list is missing, expired, or signed by another key.
    """

    ACCEPT = "Accept"
    REFUSE = "Refuse"


@dataclass(frozen=True, eq=False)
class RevocationList:
    """A revocation list as it was presented. Its signature is unverified until `is_signed_by` is called."""

    crl: x509.CertificateRevocationList = field(repr=False)
    number: int
    this_update: datetime
    next_update: datetime
    _judged: dict[bytes, bool] = field(init=False, repr=False, compare=False, default_factory=dict)

    @classmethod
    def from_der(cls, der: bytes, *, among: Collection[int] | None = None) -> RevocationList:
        """The list that `der` encodes, of which `among` names the only serial numbers that matter: a long
        list then takes little memory. Raises InvalidRevocationList.

        A list without a number or an end is refused, because the profile requires both. So is a list with a
        critical extension: it may cover only some of the certificates, and we would take it for complete.
        """
        if len(der) > MAX_BYTES:
            raise InvalidRevocationList(f"the list has {len(der)} bytes, at most {MAX_BYTES} are read")
        try:
            crl = x509.load_der_x509_crl(der)
            critical = [one.oid.dotted_string for one in crl.extensions if one.critical]
            number = crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
            this_update, next_update = crl.last_update_utc, crl.next_update_utc
            entries = crl if among is None else list(_entries(crl, among))
            serials = frozenset(one.serial_number for one in entries)
            critical += [
                part.oid.dotted_string for one in entries for part in one.extensions if part.critical
            ]
        except x509.ExtensionNotFound as error:
            raise InvalidRevocationList("a list must have a number (RFC 5280, section 5.2.3)") from error
        except _MALFORMED as error:
            raise InvalidRevocationList(f"this is no revocation list: {error}") from error
        if critical:
            raise InvalidRevocationList(f"it has the critical extension {', '.join(critical)[:300]}")
        if next_update is None or next_update <= this_update:
            raise InvalidRevocationList("a list must state a next update that is later than its this update")
        made = cls(crl, number, this_update, next_update)
        made.__dict__["serials"] = serials
        made.__dict__["_der"] = der
        return made

    @classmethod
    def sign(
        cls,
        issuer: Name,
        issuer_key: PrivateKey,
        revoked: Mapping[int, datetime],
        *,
        number: int,
        this_update: datetime,
        lifetime: timedelta,
    ) -> RevocationList:
        """A new list by `issuer`; `revoked` maps each serial number to the time of its revocation.

        Times are in whole seconds. The list is backdated, as certificates are, for verifiers whose clocks are
        slow.
        """
        begin = this_update.replace(microsecond=0)
        key = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key())
        # All at once: the builder copies its whole list each time that one entry is added.
        entries = [x509.RevokedCertificateBuilder(serial, at).build() for serial, at in revoked.items()]
        builder = x509.CertificateRevocationListBuilder(
            issuer_name=subject_of(issuer),
            last_update=begin - BACKDATE,
            next_update=begin + lifetime,
            revoked_certificates=entries,
        )
        builder = builder.add_extension(key, critical=False)
        builder = builder.add_extension(x509.CRLNumber(number), critical=False)
        crl = builder.sign(issuer_key, certificate_hash(issuer_key))
        return cls.from_der(crl.public_bytes(Encoding.DER))

    def to_der(self) -> bytes:
        """The list in DER: always the same object, so that all of its readers can share it."""
        return self._der

    @cached_property
    def _der(self) -> bytes:
        return self.crl.public_bytes(Encoding.DER)

    @cached_property
    def serials(self) -> frozenset[int]:
        return frozenset(one.serial_number for one in self.crl)

    @cached_property
    def issuer(self) -> bytes:
        """The issuer's name in DER."""
        return self.crl.issuer.public_bytes()

    @cached_property
    def key_identifier(self) -> bytes | None:
        """The identifier of the key that claims to have signed the list."""
        try:
            found = self.crl.extensions.get_extension_for_oid(ExtensionOID.AUTHORITY_KEY_IDENTIFIER)
        except x509.ExtensionNotFound:
            return None
        assert isinstance(found.value, x509.AuthorityKeyIdentifier)  # noqa: S101 - for mypy
        return found.value.key_identifier

    def is_signed_by(self, key: PublicKey) -> bool:
        """Whether `key` signed the list. The answer is kept for the next call."""
        identity = encoded(key)
        if identity not in self._judged:
            try:
                self._judged[identity] = self.crl.is_signature_valid(key)
            except (TypeError, ValueError, UnsupportedAlgorithm):
                self._judged[identity] = False
        return self._judged[identity]

    def is_current(self, now: datetime) -> bool:
        return self.this_update <= now < self.next_update


class RevocationSource(Protocol):
    """A source of revocation lists that a verifier asks, for each certificate, once its chain is proven."""

    def by_issuer(
        self, issuer: bytes, name: Name | None = None, key: PublicKey | None = None
    ) -> Sequence[RevocationList]:
        """The lists of this issuer; `issuer` is its name in DER, `name` the same as a blessing name, if it is
        one. `key` is what signed the certificate: only lists that it signed will count."""


@dataclass(frozen=True)
class RevocationLists:
    """Revocation lists of any number of issuers. `merged` keeps the newest list of each issuer and key."""

    entries: tuple[RevocationList, ...] = ()

    @classmethod
    def of(cls, ders: Iterable[bytes]) -> RevocationLists:
        """The lists that `ders` encode. Raises InvalidRevocationList."""
        return cls(tuple(RevocationList.from_der(der) for der in ders))

    @classmethod
    def from_pem(cls, pem: bytes) -> RevocationLists:
        """The lists in `pem`, one after the other (RFC 7468). Raises InvalidRevocationList."""
        parts = pem.split(_PEM_BEGIN)
        if parts[0].strip():
            raise InvalidRevocationList("expected lists in PEM, each beginning with BEGIN X509 CRL")
        ders = []
        for part in parts[1:]:
            text, end, after = part.partition(_PEM_END)
            if not end or after.strip():
                raise InvalidRevocationList("a list in PEM ends with END X509 CRL, and nothing is after it")
            try:
                ders.append(binascii.a2b_base64(text))
            except ValueError as error:
                raise InvalidRevocationList(f"a list in PEM is no base64: {error}") from error
        return cls.of(ders)

    def merged(self, newer: RevocationLists, now: datetime) -> RevocationLists:
        """Both sets of lists, without those that have expired at `now` or that a higher number replaces."""
        best: dict[tuple[bytes, bytes | None], RevocationList] = {}
        for one in (*self.entries, *newer.entries):
            key = (one.issuer, one.key_identifier)
            if key not in best or best[key].number <= one.number:
                best[key] = one
        return RevocationLists(tuple(one for one in best.values() if now < one.next_update))

    def by_issuer(
        self, issuer: bytes, name: Name | None = None, key: PublicKey | None = None
    ) -> Sequence[RevocationList]:
        """The lists that name this issuer. Every list states it in DER, so only `issuer` is used."""
        return self._by_issuer.get(issuer, [])

    @cached_property
    def _by_issuer(self) -> dict[bytes, list[RevocationList]]:
        found: dict[bytes, list[RevocationList]] = {}
        for one in self.entries:
            found.setdefault(one.issuer, []).append(one)
        return found


def _entries(
    crl: x509.CertificateRevocationList, among: Collection[int]
) -> Iterator[x509.RevokedCertificate]:
    for serial in among:
        entry = crl.get_revoked_certificate_by_serial_number(serial)
        if entry is not None:
            yield entry
