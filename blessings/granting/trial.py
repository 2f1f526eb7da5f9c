"""The trial of an issuer before it is used: a leaf is made below it, for a key that is thrown away, and
judged as peers would judge it."""

from __future__ import annotations

from datetime import datetime, timedelta

from cryptography import x509

from blessings.errors import InvalidCertificate, VerificationError
from blessings.granting.authority import Authority
from blessings.principal import Principal
from blessings.roots import Roots
from blessings.verification.plain_verifiers import check_form, check_svid
from blessings.verification.verifier import verify_blessing

_NAME = "trial"
_LIFETIME = timedelta(minutes=5)


def check_issuer(authority: Authority, root: x509.Certificate, *, grants: bool, now: datetime) -> None:
    """Checks that everybody who recognises `root` accepts at `now` what `authority` blesses: this library's
    verifier, OpenSSL, Go's crypto/x509, and cryptography's verifier. With `grants`, also what is blessed by
    those to whom the authority grants names.

    Raises InvalidCertificate, VerificationError or CannotBless. The place of a certificate is that in the
    authority's blessing; its length stands for the root.
    """
    above = () if authority.is_root else authority.blessing.certificates
    for place, certificate in enumerate((*above, root)):
        try:
            check_form(certificate)
        except InvalidCertificate as error:
            raise error.at(place) from error
    issuer = authority
    if grants:
        key = authority.principal.public_key
        granted = authority.grant(key, _NAME, now=now, lifetime=_LIFETIME)
        issuer = Authority(authority.principal, granted)
    leaf = issuer.bless(Principal.create().public_key, _NAME, now=now, lifetime=_LIFETIME)
    try:
        verify_blessing(leaf, Roots.of(root), now=now)
    except VerificationError as error:
        raise error.above(len(leaf.certificates) - len(above)) from error
    check_svid(leaf.certificates, root, now)


def check_root(authority: Authority) -> None:
    """As `check_issuer`, for a root that was kept together with its key.

    It may have expired: it is judged for a time within its life.
    """
    within = authority.blessing.not_after - timedelta(seconds=1)
    check_issuer(authority, authority.certificate, grants=True, now=within)
