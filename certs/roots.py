"""The control plane's roots over time: the one that signs, its successor, and those still trusted.

signing ── two thirds of its life ──► successor made and published
        ── a week later ───────────► successor signs, the old one stays trusted until it expires
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from cryptography import x509

from blessings import Authority, Blessing, Principal, Roots
from blessings.granting.trial import check_root
from blessings.profile.certificates import BACKDATE
from certs.issue import CERTIFICATE, KEY, ROOTS, new_root
from certs.schedule import is_due, may_sign

NEXT_CERTIFICATE, NEXT_KEY = "next.crt", "next.key"


@dataclass(frozen=True)
class ControlPlaneRoots:
    """A state of the roots; `advance` gives the next one."""

    signing: Authority
    successor: Authority | None
    retired: tuple[x509.Certificate, ...] = ()

    @classmethod
    def begin(cls, now: datetime) -> ControlPlaneRoots:
        return cls(new_root(now), None)

    @property
    def roots(self) -> Roots:
        """Every root to trust now; clients get them as ca.crt and caBundle."""
        successor = (self.successor.certificate,) if self.successor else ()
        return Roots.of(self.signing.certificate, *successor, *self.retired)

    def advance(self, now: datetime) -> ControlPlaneRoots:
        """The state at `now`: this one, or the next when it is due."""
        state = replace(self, retired=tuple(one for one in self.retired if one.not_valid_after_utc > now))
        certificate = state.signing.certificate
        if certificate.not_valid_before_utc > now:
            # It was made by a clock that was ahead, and nothing under it is valid yet.
            return replace(
                state, signing=new_root(now), successor=None, retired=(*state.retired, certificate)
            )
        if certificate.not_valid_after_utc <= now:
            # Nothing advanced the succession for a year. A successor that was never published is better than
            # an expired root.
            return replace(state, signing=state.successor or new_root(now), successor=None)
        if state.successor is None:
            if is_due(certificate.not_valid_before_utc, certificate.not_valid_after_utc, now):
                return replace(state, successor=new_root(now))
            return state
        if may_sign(state.successor.certificate.not_valid_before_utc + BACKDATE, now):
            return ControlPlaneRoots(state.successor, None, (*state.retired, certificate))
        return state

    def files(self) -> dict[str, str]:
        """The files of the root's Secret, with the signing pair under the usual names."""
        files = {
            CERTIFICATE: self.signing.blessing.to_pem(),
            KEY: self.signing.principal.to_pem().decode(),
            ROOTS: self.roots.to_pem(),
        }
        if self.successor is not None:
            files[NEXT_CERTIFICATE] = self.successor.blessing.to_pem()
            files[NEXT_KEY] = self.successor.principal.to_pem().decode()
        return files

    @classmethod
    def from_files(cls, files: Mapping[str, str]) -> ControlPlaneRoots:
        """The inverse of `files`. Raises BlessingsError or KeyError for files that are not usable."""
        signing = _authority(files[KEY], files[CERTIFICATE])
        successor = _authority(files[NEXT_KEY], files[NEXT_CERTIFICATE]) if NEXT_KEY in files else None
        current = {signing.certificate, *((successor.certificate,) if successor else ())}
        published = [root.certificate for root in Roots.from_pem(files[ROOTS])]
        return cls(signing, successor, tuple(one for one in published if one not in current))


def _authority(key_pem: str, certificate_pem: str) -> Authority:
    authority = Authority(Principal.from_pem(key_pem.encode()), Blessing.from_pem(certificate_pem))
    check_root(authority)
    return authority
