"""The application registry: names that an administrator chose, instead of those that follow from the
namespace and the service account.

| the name is | granted by |
|---|---|
| below the agent's prefix | the agent itself, under what was delegated to it |
| elsewhere under the root | an administrator's blessing: a signing certificate of the agent's key for it |

Caveats on a grant are refused: what is below a certificate with caveats is no SVID, no X.509 verifier accepts
it, and so no replica could renew with it. The grant's own end is a restriction that every verifier knows.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache

import structlog

from blessings import Blessing, BlessingsError, Name, Principal, Roots, fingerprint
from cluster_agent.callers import Administrators
from cluster_agent.errors import BadRequest, Forbidden
from cluster_agent.model import Application
from cluster_agent.registry.dns_names import check_dns_names
from cluster_agent.signing import granted
from cluster_agent.signing.signed_text import is_signed, signature_of
from cluster_agent.store.registry import ListedRow, RegisteredApplications, RegisteredRow

_SIGNED_AS = "vanadium cluster agent, registered application, version 1"
# RFC 1123, as Kubernetes names namespaces.
_DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
PAGE = 200
_BETWEEN_PAGES_SECONDS = 0.1
_MOST_BELIEVED = 512
_NOT_BELIEVED = (BlessingsError, ValueError)
_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Registration:
    """The name of an application, the TTL of its certificates if it has its own, for a name that is not below
    the prefix the administrator's blessing, and the DNS names in its certificates."""

    application: Application
    name: Name
    ttl_seconds: int | None
    chain: Blessing | None
    dns_names: tuple[str, ...] = ()

    @property
    def spelled(self) -> str:
        """The form that the agent signs, so that write access to the database gives no name."""
        document: dict[str, object] = {
            "for": _SIGNED_AS,
            "namespace": self.application.namespace,
            "serviceAccount": self.application.service_account,
            "name": str(self.name),
            "ttlSeconds": self.ttl_seconds,
            "chain": None if self.chain is None else self.chain.to_pem(),
        }
        if self.dns_names:
            # Only then: rows without DNS names keep the signature of versions that knew none.
            document["dnsNames"] = list(self.dns_names)
        return json.dumps(document, sort_keys=True)

    def row(self, issuing: Principal, now: datetime) -> RegisteredRow:
        return RegisteredRow(
            namespace=self.application.namespace,
            service_account=self.application.service_account,
            name=str(self.name),
            ttl_seconds=self.ttl_seconds,
            chain=None if self.chain is None else self.chain.to_pem(),
            signature=signature_of(self.spelled, issuing),
            registered_at=now,
            dns_names=" ".join(self.dns_names) or None,
        )


@dataclass(frozen=True)
class Listed:
    """A registration, and why its name would be refused now; None when it would not."""

    registration: Registration
    objection: str | None


@dataclass(frozen=True)
class Page:
    """A part of the registrations, in their order. `following` is to be given for the next part; None after
    the last. `unreadable` have a row that this agent did not sign."""

    listed: Sequence[Listed]
    unreadable: Mapping[Application, str]
    following: Application | None


class Registry:
    """The registered applications. Each call reads the rows that it is about and no others, so that neither
    time nor memory grows with the number of registered names. Every call may raise Unavailable."""

    def __init__(
        self, rows: RegisteredApplications, prefix: Name, issuing: Principal, administrators: Administrators
    ) -> None:
        self.rows = rows
        self.prefix = prefix
        self.issuing = issuing
        self.administrators = administrators
        # The key is the row's whole content, so a row that was changed in the database is verified again.
        self._believed = lru_cache(_MOST_BELIEVED)(self._verified)

    async def of(self, application: Application) -> Registration | None:
        """The application's registration; None when its name follows from namespace and service account.
        Raises Forbidden, TooManyRequests."""
        row = await self.rows.of(application)
        try:
            return None if row is None else self._believed(row)
        except _NOT_BELIEVED as error:
            raise Forbidden(
                "RegistrationInvalid",
                f"the registration of {application} was not made by this cluster agent ({error}); register "
                "it again",
            ) from error

    async def name_of(self, application: Application) -> Name:
        """The application's name. Raises BadRequest, Forbidden, TooManyRequests."""
        return self.name(application, await self.of(application))

    def name(self, application: Application, registered: Registration | None) -> Name:
        """The application's name, with that registration or without one. Raises BadRequest."""
        return application.name_under(self.prefix) if registered is None else registered.name

    async def names_of(self, applications: Iterable[Application]) -> dict[Application, Name]:
        """The names of many applications, without those whose registration this agent did not make. It takes
        as long as there are applications, but does not hold up the event loop."""
        some = list(dict.fromkeys(applications))
        rows = await self.rows.among(some)

        def names() -> Iterator[tuple[Application, Name]]:
            for one in some:
                with suppress(*_NOT_BELIEVED):
                    yield one, self.name(one, self._verified(rows[one]) if one in rows else None)

        return await asyncio.to_thread(lambda: dict(names()))

    async def page(self, after: Application | None = None, most: int = PAGE) -> Page:
        """The registrations that follow `after`, with the objections to their names."""
        rows = await self.rows.page(after, most)
        return await asyncio.to_thread(self._page, rows, most)

    def _page(self, rows: Sequence[ListedRow], most: int) -> Page:
        listed, unreadable = [], {}
        for one in rows:
            try:
                registration = self._verified(one.row)
            except _NOT_BELIEVED as error:
                unreadable[one.row.application] = str(error)
            else:
                listed.append(Listed(registration, self._objection(registration, one.in_the_way)))
        return Page(listed, unreadable, rows[-1].row.application if len(rows) == most else None)

    def _objection(self, one: Registration, other: RegisteredRow | None) -> str | None:
        """Why the name would be refused now, although an older version or another access list accepted it.

        It stays in force, because taking a name away would cut off its replicas; so an administrator is told.
        """
        try:
            check_name(one.name, one.application, prefix=self.prefix, administrators=self.administrators)
        except BadRequest as error:
            return str(error)
        if other is None:
            return None
        return f"{other.application} is {other.name}, and a pod's name can make the one of them the other"

    async def inspect(self) -> None:
        """Logs each registration that is not believed, or whose name would be refused now."""
        page = Page([], {}, None)
        while True:
            page = await self.page(page.following)
            for application, error in page.unreadable.items():
                _log.error("registration not believed", **_fields(application), error=error)
            for one in page.listed:
                if one.objection is not None:
                    _log.error(
                        "registered name would be refused now; register the application under another",
                        **_fields(one.registration.application),
                        name=str(one.registration.name),
                        objection=one.objection,
                    )
            if page.following is None:
                return
            await asyncio.sleep(_BETWEEN_PAGES_SECONDS)

    def _verified(self, row: RegisteredRow) -> Registration:
        """The registration in a row that this agent signed. Raises BlessingsError, ValueError."""
        chain = None if row.chain is None else Blessing.from_pem(row.chain)
        dns_names = tuple((row.dns_names or "").split())
        registration = Registration(row.application, Name.parse(row.name), row.ttl_seconds, chain, dns_names)
        if not is_signed(registration.spelled, row.signature, self.issuing):
            raise ValueError("its signature is not by this agent's issuing key")
        if chain is not None and (
            chain.presented != registration.name
            or fingerprint(chain.public_key) != fingerprint(self.issuing.public_key)
        ):
            raise ValueError("its blessing is for another name or key")
        return registration

    def check(
        self,
        application: Application,
        name_text: str,
        ttl_seconds: int | None,
        chain_pem: str | None,
        dns_names: Sequence[str] = (),
        *,
        roots: Roots,
        now: datetime,
    ) -> Registration:
        """The registration made of these values, if every check passes. Raises BadRequest."""
        prefix = self.prefix
        try:
            name = Name.parse(name_text)
        except BlessingsError as error:
            raise BadRequest("InvalidName", str(error)) from error
        application.name_under(prefix)
        check_name(name, application, prefix=prefix, administrators=self.administrators)
        if chain_pem is None and not name.is_extension_of(prefix):
            raise BadRequest(
                "NotGranted", f"{name} is not below {prefix}, so it needs an administrator's blessing for it"
            )
        chain = None if chain_pem is None else _granted_chain(chain_pem, name, roots, self.issuing, now)
        return Registration(application, name, ttl_seconds, chain, check_dns_names(dns_names))


def check_name(name: Name, application: Application, *, prefix: Name, administrators: Administrators) -> None:
    """Checks that no replica's name under `name` is that of an administrator, of the agent, or of another
    application. Raises BadRequest."""
    for pattern in (*administrators.access_list.allowed, *administrators.secret_keepers.allowed):
        if granted.may_match_below(pattern, name):
            raise BadRequest(
                "AdministratorsAmongReplicas",
                f"replicas of {name} would match {pattern}, which administers this cluster agent, or keeps "
                "its secrets",
            )
    if name == prefix or prefix.is_extension_of(name):
        raise BadRequest(
            "NameAbovePrefix", f"{name} is or is above {prefix}, below which every application has its name"
        )
    if name.is_extension_of(prefix):
        _check_not_of_another(name, application, prefix)


def _check_not_of_another(name: Name, application: Application, prefix: Name) -> None:
    """Checks that the name belongs to no other application.

    Below the prefix, `<namespace>:<service account>` and its extensions belong to that application. A
    possible name of a namespace cannot be registered, because its extensions by pod names could be names of
    that namespace's applications.
    """
    own = (application.namespace, application.service_account)
    below = name.components[len(prefix.components) :]
    if len(below) == 1 and _DNS_LABEL.fullmatch(below[0]):
        raise BadRequest(
            "NameOfNamespace",
            f"{name} is the name of a namespace; choose one that no namespace can have, with an upper-case "
            f"letter, a dot or an underscore, or one that is not below {prefix}",
        )
    if len(below) >= 2 and below[:2] != own:
        raise BadRequest(
            "NameOfAnother",
            f"{name} is the name of namespace {below[0]}, service account {below[1]}, or below it",
        )


def _granted_chain(pem: str, name: Name, roots: Roots, issuing: Principal, now: datetime) -> Blessing:
    refusal = BadRequest("NotGranted", "this cluster agent has no root that could have granted it")
    for root in roots:
        chain = granted.parse_chain(pem, root.certificate)
        try:
            granted.check_chain(chain, root.certificate, name, issuing=issuing, room_below=False, now=now)
        except BadRequest as error:
            refusal = error
        else:
            return chain
    raise refusal


def _fields(application: Application) -> dict[str, str]:
    return {"namespace": application.namespace, "serviceAccount": application.service_account}
