"""The client for SeekBlessings: makes a new key, calls the cluster agent, and verifies the answer."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, Protocol
from urllib.parse import quote

from cryptography.hazmat.primitives.serialization import Encoding

from blessings import (
    Blessing,
    BlessingsError,
    Name,
    Principal,
    Reason,
    Roots,
    VerificationError,
    fingerprint,
    verify_blessing,
)
from blessings.revocation import MAX_BYTES
from pod_agent.beginning import Beginning
from pod_agent.credential import Credential, read_credential, read_mounted
from pod_agent.errors import ClocksDiffer, NotMounted, Refused, SeekError, Unreachable, Untrustworthy
from pod_agent.identity import Identity
from pod_agent.revocation_lists import Index, PublishedList
from pod_agent.settings import Settings
from pod_agent.watcher import News, parse_news
from service.beginning import HEADER
from service.cluster_agent_calls import NO_HEADERS, ClusterAgentAddress, call, fetch, mutual_tls, reach
from service.errors import CallError, CallRefused, CallUnanswered, UnusableAnswer

_LONGEST_ANSWER_BYTES = 1 << 20
_LIST_SECONDS = 60.0
_KINDS: Mapping[type[CallError], type[SeekError]] = {
    CallRefused: Refused,
    CallUnanswered: Unreachable,
    UnusableAnswer: Untrustworthy,
}


@dataclass(frozen=True)
class Answer:
    """A blessing for `principal`, verified under `roots`."""

    principal: Principal
    blessing: Blessing
    name: Name
    roots: Roots


@dataclass(frozen=True)
class Unjudged:
    """The cluster agent's answer to a request for `principal`."""

    document: Mapping[str, Any]
    principal: Principal
    application: Name

    def judged(self, current: Identity | None, now: datetime) -> Answer:
        """The answer, if it is usable at `now`. Raises Untrustworthy, ClocksDiffer."""
        return believe(self.document, self.principal, self.application, current, now)


class Seeker(Protocol):
    """A source of blessings."""

    async def seek(self, current: Identity | None) -> Answer:
        """A new blessing: `current` renewed, or, for None, one for the bootstrap credential. Raises
        SeekError."""

    async def reach(self) -> None:
        """Asks nothing. Raises Unreachable while the cluster agent is away."""


class ClusterAgentSeeker:
    """Gets blessings from the cluster agent in the settings."""

    def __init__(
        self,
        settings: Settings,
        now: Callable[[], datetime],
        beginning: Beginning,
    ) -> None:
        """`beginning` is told of each step on the way to the first identity."""
        self._settings = settings
        self._address = ClusterAgentAddress(settings.cluster_agent_url, settings.cluster_agent_server_name)
        self._now = now
        self._beginning = beginning

    async def ask(self, current: Identity | None) -> Unjudged:
        """A new blessing: `current` renewed, or, for None, one for the bootstrap credential. Raises
        SeekError."""
        # The files are read each time, because the kubelet updates them in place. They are in memory, and
        # small: a thread for them would take more than reading.
        credential = read_credential(self._settings.credential_file)
        self._beginning.done("mounted")
        if (
            current is None
            and not credential.blessing.not_before <= self._now() < credential.blessing.not_after
        ):
            # The cluster agent would refuse it by its clock, or answer with what is not valid by ours.
            raise _clocks_differ("the bootstrap credential", credential.blessing, self._now())
        token = read_mounted(self._settings.token_file).strip()
        self._beginning.done("token")
        principal = Principal.create()
        body: dict[str, Any] = {
            "csr": principal.csr().public_bytes(Encoding.PEM).decode(),
            "token": token,
        }
        if self._settings.ttl_seconds is not None:
            body["ttlSeconds"] = self._settings.ttl_seconds
        document = await self._call(_context(credential, current), "/v1/seek-blessings", body)
        return Unjudged(document, principal, credential.application)

    async def reach(self) -> None:
        try:
            await reach(self._address)
        except CallError as error:
            raise _failed(error) from error

    async def jwt_svid(self, current: Identity, audiences: Sequence[str]) -> str:
        token = read_mounted(self._settings.token_file).strip()
        body = {"audiences": list(audiences), "token": token}
        document = await self._call(await self._context(current), "/v1/jwt-svid", body)
        return str(document.get("svid"))

    async def news(self, current: Identity, have: Mapping[str, int], applications: Sequence[str]) -> News:
        body = {"have": dict(have), "issuers": list(applications)}
        untold = self._beginning.untold()
        headers = {} if untold is None else {HEADER: untold}
        news = parse_news(await self._call(await self._context(current), "/v1/watch", body, headers))
        if untold is not None:
            self._beginning.told()
        return news

    async def index(self, current: Identity, application: str) -> Index:
        path = f"/v1/crl?issuer={quote(application)}"
        document = await self._call(await self._context(current), path)
        try:
            return Index.parse(document["version"], document["lists"])
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise Untrustworthy("AnswerMalformed", f"the index cannot be read: {error!r}") from error

    async def revocation_list(self, current: Identity, wanted: PublishedList) -> bytes:
        path = f"/v1/crl/{quote(wanted.application)}?key={quote(wanted.key)}"
        context = await self._context(current)
        try:
            return await fetch(self._address, context, path, longest_bytes=MAX_BYTES, seconds=_LIST_SECONDS)
        except CallError as error:
            raise _failed(error) from error

    async def _context(self, current: Identity) -> ssl.SSLContext:
        credential = read_credential(self._settings.credential_file)
        return _context(credential, current)

    async def _call(
        self,
        context: ssl.SSLContext,
        path: str,
        body: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] = NO_HEADERS,
    ) -> Mapping[str, Any]:
        """The answer to a POST of `body`, or to a GET without one. Raises SeekError."""
        method = "GET" if body is None else "POST"
        try:
            return await call(
                self._address,
                context,
                method,
                path,
                body,
                headers=headers,
                longest_bytes=_LONGEST_ANSWER_BYTES,
                connected=partial(self._beginning.done, "connected"),
            )
        except CallError as error:
            raise _failed(error) from error


def believe(
    document: Mapping[str, Any],
    principal: Principal,
    application: Name,
    current: Identity | None,
    now: datetime,
) -> Answer:
    """The answer in `document`, if it matches the request.

    Raises Untrustworthy for a chain that is not valid, is for another key, names something else than a pod of
    `application`, or, at a renewal, another pod than before; ClocksDiffer for one that is not valid `now`.
    """
    try:
        blessing = Blessing.from_pem(document["chain"])
        roots = Roots.from_json(document["roots"])
        name = verify_blessing(blessing, roots, now=now)
        ours = fingerprint(blessing.public_key) == fingerprint(principal.public_key)
    except VerificationError as error:
        if error.reason in (Reason.NOT_YET_VALID, Reason.EXPIRED):
            raise _clocks_differ("the new chain", blessing, now) from error
        raise Untrustworthy("ChainInvalid", f"the chain is not valid: {error.reason}: {error}") from error
    except (BlessingsError, KeyError, TypeError, AttributeError) as error:
        raise Untrustworthy("AnswerMalformed", f"the answer cannot be read: {error!r}") from error
    if not blessing.is_svid:
        # It would be valid for us while its caveats hold, but we would serve it to programs that know no
        # caveats.
        raise Untrustworthy("NotAnSvid", f"the chain of {name} has caveats, so it is no X.509-SVID")
    if not ours:
        raise Untrustworthy("OtherKey", "the chain is for another key than the one in the request")
    if not name.is_extension_of(application) or len(name.components) != len(application.components) + 1:
        raise Untrustworthy("OtherName", f"{name} is not a pod of {application}")
    if current is not None and name != current.name:
        raise Untrustworthy("OtherName", f"the renewal of {current.name} returned {name}")
    return Answer(principal, blessing, name, roots)


def _clocks_differ(what: str, blessing: Blessing, now: datetime) -> ClocksDiffer:
    valid = f"from {blessing.not_before.isoformat()} to {blessing.not_after.isoformat()}"
    by_ours = f"by this node's clock it is {now.isoformat(timespec='seconds')}"
    return ClocksDiffer("ClocksDiffer", f"{what} is valid {valid}, {by_ours}")


def _failed(error: CallError) -> SeekError:
    return _KINDS[type(error)](error.reason, str(error), error.retry_after_seconds)


def _context(credential: Credential, current: Identity | None) -> ssl.SSLContext:
    who = current or credential
    try:
        return mutual_tls(who.principal, who.blessing, credential.cluster_agent_roots)
    except ssl.SSLError as error:
        raise NotMounted("BadCredential", f"the credential cannot be used for TLS: {error}") from error
