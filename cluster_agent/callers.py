"""The callers of the API, as the client certificate of a connection proves them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

import structlog

from blessings import (
    AccessList,
    Blessing,
    InvalidCertificate,
    Name,
    PublicKey,
    Roots,
    VerificationError,
    fingerprint,
    verify_blessing,
)
from blessings.profile.fields import public_key_of
from cluster_agent.errors import Forbidden, NotAuthenticated
from cluster_agent.signing.room import BOOTSTRAP_ROOT

_log = structlog.get_logger(__name__)
_MOST_KNOWN = 1024
NOBODY = AccessList()


@dataclass(frozen=True)
class Caller:
    """A client with a valid certificate chain: its proven name, and the certificate."""

    name: Name
    blessing: Blessing

    @property
    def holds_bootstrap_credential(self) -> bool:
        return self.name.is_extension_of(BOOTSTRAP_ROOT)

    @cached_property
    def certificate_fingerprint(self) -> str:
        return certificate_fingerprint(self.blessing)


def identify(blessing: Blessing | None, roots: Roots, now: datetime) -> Caller:
    """The caller behind a presented chain. Raises NotAuthenticated.

    The TLS handshake checked the chain already. This checks it by our own rules (names, patterns), and its
    time again, because connections outlive certificates.
    """
    if blessing is None:
        raise NotAuthenticated("ClientCertificateRequired", "this call needs a client certificate")
    try:
        return Caller(verify_blessing(blessing, roots, now=now), blessing)
    except VerificationError as error:
        raise NotAuthenticated("ClientCertificateInvalid", f"{error.reason}: {error}") from error


class KnownCallers:
    """Identifies callers like `identify`, but checks the signatures of a chain only once.

    All replicas of an application present the same bootstrap credential. A chain is known by the bytes of all
    its certificates, as long as the roots are the same and no certificate of the chain and no root has
    expired. A chain with caveats is checked each time. This says nothing about whether the caller was revoked
    or forgotten, or may administer: that is checked at each call.
    """

    def __init__(self) -> None:
        self._given: tuple[Roots, ...] = ()
        self._roots = Roots(())
        self._roots_valid: tuple[datetime, datetime] | None = None
        self._known: OrderedDict[tuple[bytes, ...], Name] = OrderedDict()

    def identify(self, blessing: Blessing | None, roots: Sequence[Roots], now: datetime) -> Caller:
        """The caller behind a presented chain, under any of the roots. Raises NotAuthenticated."""
        given = tuple(roots)
        if given != self._given:
            self._known.clear()
            self._roots = sum(given, Roots(()))
            self._roots_valid = _all_valid(self._roots)
        # Comparing the same objects takes no time, comparing equal ones does.
        self._given = given
        valid = self._roots_valid
        if blessing is None or valid is None or not valid[0] <= now < valid[1]:
            return identify(blessing, self._roots, now)
        chain = blessing.certificate_fingerprints
        name = self._known.get(chain)
        if name is not None and blessing.not_before <= now < blessing.not_after:
            self._known.move_to_end(chain)
            return Caller(name, blessing)
        caller = identify(blessing, self._roots, now)
        if blessing.is_svid:
            self._known[chain] = caller.name
            if len(self._known) > _MOST_KNOWN:
                self._known.popitem(last=False)
        return caller


def _all_valid(roots: Roots) -> tuple[datetime, datetime] | None:
    """The time in which all roots are valid, because it is not known which of them a chain was checked under.
    None when there are no roots, or one has caveats or cannot be read."""
    try:
        facts = [root.facts for root in roots]
    except InvalidCertificate:
        return None
    if not facts or any(one.restricted for one in facts):
        return None
    return max(one.not_before for one in facts), min(one.not_after for one in facts)


@dataclass
class Administrators:
    """The callers who may administer: those whose proven name the access list allows.

    A caller that this agent's own `issuing_key` named, or that presents a bootstrap credential, never may:
    however wide the list's patterns are, no caller administers the agent that names it. Callers that
    `secret_keepers` allows may make, list and forget secrets, and so revoke what was issued under them, and
    read which applications' TTLs are too short for a kubelet, and nothing else: they are no administrators,
    even when the other list allows them too.
    """

    access_list: AccessList
    issuing_key: PublicKey
    secret_keepers: AccessList = NOBODY

    def admit(self, claimed: AccessList) -> None:
        """Those whom a claim names administer too."""
        ours = self.access_list
        self.access_list = AccessList(ours.allowed + claimed.allowed, ours.refused + claimed.refused)

    def allow(self, caller: Caller) -> bool:
        names = [caller.name]
        if not self.access_list.allows(names) or self.secret_keepers.allows(names):
            return False
        return not self._is_named_here(caller)

    def keep_secrets(self, caller: Caller) -> bool:
        """Whether the caller may make, list, forget and so revoke secrets, and do nothing else."""
        return self.secret_keepers.allows([caller.name]) and not self._is_named_here(caller)

    def allow_secrets(self, caller: Caller) -> bool:
        """Whether the caller may make, list and forget secrets."""
        # This is checked for every caller. For starting replicas, which are most of them, it is known
        # already.
        if caller.holds_bootstrap_credential:
            return False
        return self.keep_secrets(caller) or self.allow(caller)

    def _is_named_here(self, caller: Caller) -> bool:
        return caller.holds_bootstrap_credential or self._named_by_us(caller.blessing)

    def _named_by_us(self, blessing: Blessing) -> bool:
        ours = fingerprint(self.issuing_key)
        return any(fingerprint(public_key_of(one)) == ours for one in blessing.certificates[1:])


def warn_of_overlap(administrators: AccessList, secret_keepers: AccessList) -> None:
    """Logs each pair of patterns, one of either list, that some name may match both of. Secret keepers do not
    administer, so a list of theirs that is too wide would keep administrators from it."""
    for ours in administrators.allowed:
        for theirs in secret_keepers.allowed:
            if ours.overlaps(theirs):
                _log.warning(
                    "a caller in both lists keeps secrets, and does not administer",
                    administrators=str(ours),
                    secretKeepers=str(theirs),
                )


def require_administrator(caller: Caller, administrators: Administrators) -> None:
    """Raises Forbidden when the caller may not administer."""
    if administrators.keep_secrets(caller):
        raise Forbidden(
            "NotAnAdministrator",
            f"{caller.name} is in the secret keepers' access list, so it may make, list and forget secrets, "
            "and so revoke what was issued under them, read which TTLs are short, and do nothing else",
        )
    if not administrators.allow(caller):
        raise Forbidden("NotAnAdministrator", f"{caller.name} is not in the administrators' access list")


def require_secret_keeper(caller: Caller, administrators: Administrators) -> None:
    """Raises Forbidden when the caller may neither keep secrets nor administer."""
    if not administrators.allow_secrets(caller):
        raise Forbidden(
            "NotAnAdministrator",
            f"{caller.name} is not in the administrators' access list, nor in that of the secret keepers",
        )


def certificate_fingerprint(blessing: Blessing) -> str:
    """SHA-256 over the leaf's DER, in hex."""
    return blessing.leaf_fingerprint.hex()
