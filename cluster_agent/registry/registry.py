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

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

import structlog

from blessings import Blessing, BlessingsError, Name, Principal, Roots, fingerprint, verify_signature
from cluster_agent.callers import Administrators
from cluster_agent.errors import BadRequest, Forbidden
from cluster_agent.model import Application
from cluster_agent.signing import granted
from cluster_agent.store.registry import RegisteredApplications, RegisteredRow

_SIGNED_AS = "vanadium cluster agent, registered application, version 1"
# RFC 1123, as Kubernetes names namespaces.
_DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Registration:
    """The name of an application, the TTL of its certificates if it has its own, and, for a name that is not
    below the prefix, the administrator's blessing."""

    application: Application
    name: Name
    ttl_seconds: int | None
    chain: Blessing | None

    @property
    def spelled(self) -> str:
        """The form that the agent signs, so that write access to the database gives no name."""
        document = {
            "for": _SIGNED_AS,
            "namespace": self.application.namespace,
            "serviceAccount": self.application.service_account,
            "name": str(self.name),
            "ttlSeconds": self.ttl_seconds,
            "chain": None if self.chain is None else self.chain.to_pem(),
        }
        return json.dumps(document, sort_keys=True)

    def row(self, issuing: Principal, now: datetime) -> RegisteredRow:
        return RegisteredRow(
            namespace=self.application.namespace,
            service_account=self.application.service_account,
            name=str(self.name),
            ttl_seconds=self.ttl_seconds,
            chain=None if self.chain is None else self.chain.to_pem(),
            signature=issuing.sign(self.spelled.encode()).hex(),
            registered_at=now,
        )


@dataclass
class Registry:
    """The registered applications, as this process last read them. `unreadable` are the applications with a
    row that this agent did not sign: nothing is issued for them."""

    rows: RegisteredApplications
    prefix: Name
    issuing: Principal
    administrators: Administrators
    entries: dict[Application, Registration] = field(default_factory=dict)
    unreadable: frozenset[Application] = frozenset()
    _taken: tuple[RegisteredRow, ...] = ()

    def of(self, application: Application) -> Registration | None:
        """The application's registration; None when its name follows from namespace and service account.
        Raises Forbidden."""
        if application in self.unreadable:
            raise Forbidden(
                "RegistrationInvalid",
                f"the registration of {application} was not made by this cluster agent; register it again",
            )
        return self.entries.get(application)

    def name_of(self, application: Application) -> Name:
        """The application's name. Raises BadRequest, Forbidden."""
        registered = self.of(application)
        return application.name_under(self.prefix) if registered is None else registered.name

    async def read(self) -> None:
        """Reads the registrations that any replica of the agent stored. Raises Unavailable."""
        self.take(await self.rows.all())

    def take(self, rows: Iterable[RegisteredRow]) -> None:
        """Replaces the known registrations by these rows."""
        rows = tuple(rows)
        if rows == self._taken:
            return
        entries, unreadable = {}, set()
        for row in rows:
            application = Application(row.namespace, row.service_account)
            try:
                entries[application] = _believed(row, application, self.issuing)
            except (BlessingsError, ValueError) as error:
                unreadable.add(application)
                _log.error(
                    "registration not believed",
                    namespace=row.namespace,
                    serviceAccount=row.service_account,
                    error=str(error),
                )
        self.entries, self.unreadable, self._taken = entries, frozenset(unreadable), rows
        for application, objection in self.objections().items():
            _log.error(
                "registered name would be refused now; register the application under another",
                namespace=application.namespace,
                serviceAccount=application.service_account,
                name=str(entries[application].name),
                objection=objection,
            )

    def objections(self) -> dict[Application, str]:
        """Why registered names would be refused now, although an older version or another access list
        accepted them.

        They stay in force, because taking a name away would cut off its replicas; so an administrator is
        told.
        """
        found = {}
        for one in self.entries.values():
            try:
                check_name(one.name, one.application, prefix=self.prefix, administrators=self.administrators)
            except BadRequest as error:
                found[one.application] = str(error)
                continue
            for other in self.entries.values():
                if other is not one and _in_the_way(one.name, other.name):
                    found[one.application] = (
                        f"{other.application} is {other.name}, and a pod's name can make the one of them the "
                        "other"
                    )
        return found

    def check(
        self,
        application: Application,
        name_text: str,
        ttl_seconds: int | None,
        chain_pem: str | None,
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
        return Registration(application, name, ttl_seconds, chain)


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


def _in_the_way(one: Name, other: Name) -> bool:
    return one == other or one.is_extension_of(other) or other.is_extension_of(one)


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


def _believed(row: RegisteredRow, application: Application, issuing: Principal) -> Registration:
    chain = None if row.chain is None else Blessing.from_pem(row.chain)
    registration = Registration(application, Name.parse(row.name), row.ttl_seconds, chain)
    signature = bytes.fromhex(row.signature)
    if not verify_signature(issuing.public_key, registration.spelled.encode(), signature):
        raise ValueError("its signature is not by this agent's issuing key")
    if chain is not None and (
        chain.presented != registration.name
        or fingerprint(chain.public_key) != fingerprint(issuing.public_key)
    ):
        raise ValueError("its blessing is for another name or key")
    return registration
