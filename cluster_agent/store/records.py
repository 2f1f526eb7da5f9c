"""The store's calls. One thread writes and one reads, so the event loop never waits for the database; what
comes while they are busy is handed over together."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from sqlalchemy import Connection, Row, bindparam, delete, func, insert, select, update

from blessings import Principal
from cluster_agent.applications import Application
from cluster_agent.audit.kinds import Retention
from cluster_agent.audit.records import Record
from cluster_agent.errors import StoreError
from cluster_agent.issuing_policy import Issuance, Secret
from cluster_agent.store.access import Access, available, from_seconds, seconds
from cluster_agent.store.acknowledgements import Acknowledgements
from cluster_agent.store.audit_chain import SignedHead
from cluster_agent.store.audit_trail import AuditTrail
from cluster_agent.store.batches import Batches, pause_seconds
from cluster_agent.store.claims import Claims
from cluster_agent.store.database import Database, connect, database_url
from cluster_agent.store.fleet import Fleet
from cluster_agent.store.leadership import Leadership
from cluster_agent.store.migration import migrate
from cluster_agent.store.pod_locks import hold_pods
from cluster_agent.store.recently_read import RecentlyRead
from cluster_agent.store.registry import RegisteredApplications
from cluster_agent.store.revocations import (
    Revocations,
    hold_off_revocations,
    is_revoked,
    publish_anew,
    revoked_among,
)
from cluster_agent.store.root_successions import RootSuccessions
from cluster_agent.store.tables import authority_keys, issuances, issuers, revoked_replicas, secrets

MOST_WAITING = 512
# Of one Pod at a time: it has two while it renews, and one more for each start of its pod agent. Else one Pod
# could make its application's revocation list longer than anybody reads.
MOST_LIVE_OF_POD = 32
# Beyond these its certificates live as short as they may: it waits minutes for the next, and not a day.
MOST_OF_FULL_LIFE = 16
_DROPPED_AT_ONCE = 5000


class KeyAlreadyIssued(Exception):
    """The public key was certified before: renewals come with a new key each time."""


class SecretForgotten(Exception):
    """The secret was forgotten meanwhile: nothing may be issued for it."""


class TooManyLive(Exception):
    """The Pod has as many certificates that have not ended as it may; `until` the first of them ends."""

    def __init__(self, until: datetime) -> None:
        super().__init__(until)
        self.until = until


class PodBusy(Exception):
    """Another replica of the agent is recording a certificate of the same Pod; in a moment it may be."""


class ReplicaRevoked(Exception):
    """The replica was revoked: nothing may be issued to it."""


class ApplicationRevoked(Exception):
    """The application was revoked: it may have no secret."""


@dataclass(frozen=True)
class Asked:
    """An issuance to record, with records for the audit. `now` is when; None for before everything. `most` is
    how many of its Pod may be live with it."""

    issuance: Issuance
    records: Sequence[Record] = ()
    now: datetime | None = None
    most: int = MOST_LIVE_OF_POD


@dataclass(frozen=True)
class Recorded:
    """What became of a batch: the secrets that are not forgotten, the Pods that were revoked, those that
    another replica of the agent records for, the certificates beyond what a Pod may have and until when,
    those recorded, and the certificates that signed them, as (name, key, end), where they are new or end
    later than any before."""

    live: set[str]
    revoked: set[str]
    busy: set[str]
    too_many: dict[str, datetime]
    added: set[str]
    renewed: Sequence[tuple[str, str, int]] = ()


def open_store(url: str, monotonic: Callable[[], float] = time.monotonic) -> Store:
    """The store at `url`, its schema brought up to date. Raises StoreError, SettingsError."""
    database = connect(database_url(url))
    try:
        migrate(database)
    except StoreError:
        database.dispose()
        raise
    return Store(database, monotonic)


class Store:
    """Every call may raise Unavailable when the database does not answer, and TooManyRequests."""

    def __init__(self, database: Database, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._database = database
        self._monotonic = monotonic
        self._leadership = Leadership(database)
        self._access = access = Access(database)
        self.acknowledgements = Acknowledgements(access)
        self.claims = Claims(access)
        self.registered = RegisteredApplications(access)
        self.fleet = Fleet(access)
        self.revocations = Revocations(access)
        # Recorded by this process already: (name, key, end) of the issuers.
        self._issuers: set[tuple[str, str, int]] = set()
        self._adding = (
            access.insert(issuances).on_conflict_do_nothing().returning(issuances.c.certificate_fingerprint)
        )
        self.root_successions = RootSuccessions(access)
        self._issuing = Batches(
            access.writer,
            self._add_issuances,
            most_waiting=MOST_WAITING,
            pause=lambda last: asyncio.sleep(pause_seconds(last)),
        )
        self._secrets = Batches(access.reader, self._secrets_of_certificates, most_waiting=MOST_WAITING)
        self._recent_secrets = RecentlyRead[Secret](monotonic, lambda: access.writes)
        self._renewals = Batches(access.reader, self._issuances_with_secrets, most_waiting=MOST_WAITING)

    @property
    def queues(self) -> dict[str, int]:
        """How many calls wait for what."""
        return {
            "issuing": self._issuing.waiting,
            "secrets": self._secrets.waiting,
            "renewals": self._renewals.waiting,
        }

    async def close(self) -> None:
        """Waits for what is under way."""
        for batches in (self._issuing, self._secrets, self._renewals):
            await batches.idle()
        await asyncio.get_running_loop().run_in_executor(self._access.writer, self._leadership.resign)
        self._access.close()

    async def claim_authority(self, fingerprints: Mapping[str, str]) -> None:
        """Makes the database that of the keys with these fingerprints, by role, if it is nobody's yet.

        Raises StoreError when it is that of others: two replicas with different keys would not
        accept each other's credentials.
        """

        def claim(connection: Connection) -> dict[str, str]:
            rows = [{"role": role, "fingerprint": value} for role, value in sorted(fingerprints.items())]
            connection.execute(self._access.insert(authority_keys).on_conflict_do_nothing(), rows)
            return {row.role: row.fingerprint for row in connection.execute(select(authority_keys))}

        known = await self._access.write(claim)
        for role, value in fingerprints.items():
            if known[role] != value:
                raise StoreError(
                    f"this database belongs to a cluster agent whose {role} key is {known[role]}, ours is "
                    f"{value}; give every replica the same keys, or use another database"
                )

    def audit_with(self, signer: Callable[[], Principal]) -> None:
        """Begins the audit: a record given to a call below is written in the call's own transaction, under
        a head that is signed with the key of `signer`."""
        self._access.trail = AuditTrail(signer)

    async def audit(self, *records: Record) -> None:
        """Durable when it returns: records of what changes nothing else here."""
        await self._access.write(lambda connection: self._access.append(connection, *records))

    async def vouch(self, now: datetime) -> list[SignedHead]:
        """Puts the heads of all chains into one of ours, so that these cannot be cut off; answers our own."""
        trail = self._access.trail
        if trail is None:
            return []
        await self._access.write(lambda connection: trail.witness(connection, now))
        return trail.heads

    async def prune_audit(self, retention: Retention, now: datetime) -> int:
        """Removes records that are too old or too many; answers how many. In parts, so that issuing never
        waits long for it."""
        trail = self._access.trail
        if trail is None:
            return 0

        removed = 0
        for rule in retention.rules(now):
            prune = partial(trail.prune, rule=rule, now=now)
            while part := await self._access.write(prune):
                removed += part
        return removed

    async def add_secret(self, secret: Secret, *records: Record) -> None:
        """Durable when it returns. Raises ApplicationRevoked."""
        row = {
            "id": secret.id,
            "namespace": secret.application.namespace,
            "service_account": secret.application.service_account,
            "certificate_fingerprint": secret.certificate_fingerprint,
            "created_at": seconds(secret.created_at),
            "not_after": seconds(secret.not_after),
        }

        def add(connection: Connection) -> None:
            hold_off_revocations(connection)
            if is_revoked(connection, secret.application):
                raise ApplicationRevoked
            connection.execute(insert(secrets), row)
            self._access.append(connection, *records)

        await self._access.write(add)

    async def forget_secret(self, secret_id: str, now: datetime, *records: Record) -> bool:
        """Durable when it returns. Answers whether there was one to forget."""
        statement = (
            update(secrets)
            .where(secrets.c.id == secret_id, secrets.c.forgotten_at.is_(None))
            .values(forgotten_at=seconds(now))
        )

        def forget(connection: Connection) -> bool:
            known = connection.execute(statement).rowcount == 1
            if known:
                self._access.append(connection, *records)
            return known

        return await self._access.write(forget)

    async def secret_of_certificate(self, certificate_fingerprint: str) -> Secret | None:
        """As it was at most a second ago: `add_issuance` sees for itself whether it was forgotten since."""
        recent = self._recent_secrets.get(certificate_fingerprint)
        if recent is not None:
            return recent
        writes, at = self._access.writes, self._monotonic()
        secret = await self._secrets.submit(certificate_fingerprint)
        if secret is not None:
            self._recent_secrets.keep(certificate_fingerprint, secret, writes=writes, at=at)
        return secret

    async def issuance_with_secret(self, certificate_fingerprint: str) -> tuple[Issuance, Secret] | None:
        """What was issued with that certificate, and the secret that it was issued under."""
        return await self._renewals.submit(certificate_fingerprint)

    async def live_secrets(self, now: datetime) -> list[Secret]:
        """Those neither forgotten nor expired, oldest first."""
        statement = (
            select(secrets)
            .where(secrets.c.forgotten_at.is_(None), secrets.c.not_after > seconds(now))
            .order_by(secrets.c.created_at, secrets.c.id)
        )
        return [_secret(row) for row in await self._access.read(statement)]

    async def add_issuance(
        self,
        issuance: Issuance,
        *records: Record,
        now: datetime | None = None,
        most_live: int = MOST_LIVE_OF_POD,
    ) -> None:
        """Durable when it returns. Raises KeyAlreadyIssued, TooManyLive, PodBusy; SecretForgotten,
        ReplicaRevoked when that came first; and then writes no record. `most_live` is how many of its Pod
        may be live with it. Without `now`, what has ended and is still recorded counts as live."""
        refusal = await self._issuing.submit(Asked(issuance, records, now, most_live))
        if refusal is not None:
            raise refusal

    async def drop_expired_issuances(self, now: datetime) -> int:
        """Removes records of certificates that can no longer be presented; answers how many. In parts, so
        that issuing never waits long for it."""
        expired = (
            select(issuances.c.certificate_fingerprint)
            .where(issuances.c.not_after < seconds(now))
            .limit(_DROPPED_AT_ONCE)
        )
        statement = delete(issuances).where(issuances.c.certificate_fingerprint.in_(expired))
        dropped = 0
        while True:
            part = await self._access.write(lambda connection: connection.execute(statement).rowcount)
            dropped += part
            if part < _DROPPED_AT_ONCE:
                return dropped

    async def lead(self) -> bool:
        """Whether this replica is the one that does the housekeeping now."""
        return await asyncio.get_running_loop().run_in_executor(
            self._access.writer, lambda: available(self._leadership.lead)
        )

    def _add_issuances(
        self, batch: Sequence[Asked]
    ) -> Sequence[KeyAlreadyIssued | SecretForgotten | ReplicaRevoked | PodBusy | TooManyLive | None]:
        # Those that wait together came within moments.
        now = min((one.now for one in batch if one.now is not None), default=None)
        asked = [one.issuance for one in batch]

        def add(connection: Connection) -> Recorded:
            made = self._record(connection, batch, now)
            done = [one.records for one in batch if one.issuance.certificate_fingerprint in made.added]
            records = [record for some in done for record in some]
            first = next((one.records[0] for one in batch if one.records), None)
            if first is not None:
                records = [*(_issuer_renewed(row, first.at) for row in made.renewed), *records]
            self._access.append(connection, *records)
            return made

        made = available(lambda: self._access.transaction(add))
        self._issuers |= _issuers([one for one in asked if one.certificate_fingerprint in made.added])
        return [
            SecretForgotten()
            if one.secret_id not in made.live
            else ReplicaRevoked()
            if one.pod_uid in made.revoked
            else PodBusy()
            if one.pod_uid in made.busy
            else TooManyLive(made.too_many[one.certificate_fingerprint])
            if one.certificate_fingerprint in made.too_many
            else None
            if one.certificate_fingerprint in made.added
            else KeyAlreadyIssued()
            for one in asked
        ]

    def _record(
        self, connection: Connection, batch: Sequence[Asked], now: datetime | None = None
    ) -> Recorded:
        """Records what may be."""
        hold_off_revocations(connection)
        # The lock makes ForgetSecret wait: what is recorded was recorded before it.
        live = set(
            connection.scalars(_LIVE_SECRETS, {"ids": sorted({one.issuance.secret_id for one in batch})})
        )
        pods = {one.issuance.pod_uid for one in batch}
        revoked = revoked_among(connection, pods)
        # In this order two replicas that are asked to certify the same keys wait for each other in turn.
        ordered = sorted(batch, key=lambda one: one.issuance.public_key_fingerprint)
        named = [
            one for one in ordered if one.issuance.secret_id in live and one.issuance.pod_uid not in revoked
        ]
        busy = hold_pods(connection, pods)
        countable = [one for one in named if one.issuance.pod_uid not in busy]
        too_many = _too_many(connection, countable, now)
        allowed = [one.issuance for one in countable if one.issuance.certificate_fingerprint not in too_many]
        if not allowed:
            return Recorded(live, revoked, busy, too_many, set())
        renewed = self._record_issuers(connection, allowed)
        added = set(connection.scalars(self._adding, [_issuance_row(one) for one in allowed]))
        return Recorded(live, revoked, busy, too_many, added, renewed)

    def _record_issuers(
        self, connection: Connection, batch: Sequence[Issuance]
    ) -> Sequence[tuple[str, str, int]]:
        """Answers those that are new here, or end later."""
        new = sorted(_issuers(batch) - self._issuers)
        if not new:
            return []
        known = set(connection.scalars(select(issuers.c.name + " " + issuers.c.issuing_key)))
        if not known.issuperset(f"{name} {key}" for name, key, _ in new):
            publish_anew(connection)
        adding = self._access.insert(issuers)
        later = adding.excluded.not_after
        adding = adding.on_conflict_do_update(
            index_elements=["name", "issuing_key"],
            set_={"not_after": later},
            where=issuers.c.not_after < later,
        ).returning(issuers.c.name, issuers.c.issuing_key, issuers.c.not_after)
        rows = [{"name": name, "issuing_key": key, "not_after": end} for name, key, end in new]
        return [(row.name, row.issuing_key, row.not_after) for row in connection.execute(adding, rows)]

    def _secrets_of_certificates(self, fingerprints: Sequence[str]) -> Sequence[Secret | None]:
        rows = self._access.rows(_SECRETS_OF_CERTIFICATES, {"certificates": list(set(fingerprints))})
        found = {row.certificate_fingerprint: _secret(row) for row in rows}
        return [found.get(one) for one in fingerprints]

    def _issuances_with_secrets(
        self, fingerprints: Sequence[str]
    ) -> Sequence[tuple[Issuance, Secret] | None]:
        rows = self._access.rows(_RENEWALS, {"certificates": list(set(fingerprints))})
        known = {row._mapping[issuances.c.certificate_fingerprint]: row for row in rows}
        return [
            (_issuance(known[one]), _secret(known[one])) if one in known else None for one in fingerprints
        ]


# Made once: to make a statement costs as much as to execute it.
_LIVE_SECRETS = (
    select(secrets.c.id)
    .where(secrets.c.id.in_(bindparam("ids", expanding=True)), secrets.c.forgotten_at.is_(None))
    .order_by(secrets.c.id)
    .with_for_update(read=True)
)


_LIVE_OF_PODS = (
    select(issuances.c.pod_uid, func.count(), func.min(issuances.c.not_after))
    .where(
        issuances.c.pod_uid.in_(bindparam("pods", expanding=True)), issuances.c.not_after > bindparam("now")
    )
    .group_by(issuances.c.pod_uid)
)
_RENEWALS = (
    select(issuances, secrets, revoked_replicas.c.pod_uid)
    .join(secrets, secrets.c.id == issuances.c.secret_id)
    .outerjoin(revoked_replicas, revoked_replicas.c.pod_uid == issuances.c.pod_uid)
    .where(issuances.c.certificate_fingerprint.in_(bindparam("certificates", expanding=True)))
)
_SECRETS_OF_CERTIFICATES = select(secrets).where(
    secrets.c.certificate_fingerprint.in_(bindparam("certificates", expanding=True))
)


def _too_many(connection: Connection, batch: Sequence[Asked], now: datetime | None) -> dict[str, datetime]:
    """The certificates that their Pod may not have besides those that it has, with the end of the first of
    these."""
    pods = {"pods": list({one.issuance.pod_uid for one in batch}), "now": 0 if now is None else seconds(now)}
    has: Counter[str] = Counter()
    first: dict[str, datetime] = {}
    for uid, count, end in connection.execute(_LIVE_OF_PODS, pods):
        has[uid], first[uid] = count, from_seconds(end)
    too_many = {}
    for asked in batch:
        one = asked.issuance
        if has[one.pod_uid] >= asked.most:
            too_many[one.certificate_fingerprint] = first.get(one.pod_uid, one.not_after)
        else:
            has[one.pod_uid] += 1
    return too_many


def _issuers(batch: Sequence[Issuance]) -> set[tuple[str, str, int]]:
    certificates = (one.certificate for one in batch if one.certificate is not None)
    return {(one.issuer, one.issuing_key, seconds(one.issuer_not_after)) for one in certificates}


def _issuer_renewed(row: tuple[str, str, int], at: datetime) -> Record:
    name, key, end = row
    return Record("issuer-renewed", at, details={"name": name, "key": key, "notAfter": end})


def _issuance_row(issuance: Issuance) -> dict[str, object]:
    certificate = issuance.certificate
    return {
        "certificate_fingerprint": issuance.certificate_fingerprint,
        "secret_id": issuance.secret_id,
        "pod_name": issuance.pod_name,
        "pod_uid": issuance.pod_uid,
        "public_key_fingerprint": issuance.public_key_fingerprint,
        "not_after": seconds(issuance.not_after),
        "serial": certificate and certificate.serial,
        "issuer": certificate and certificate.issuer,
        "issuing_key": certificate and certificate.issuing_key,
    }


def _secret(row: Row[*tuple[object, ...]]) -> Secret:
    of = row._mapping
    return Secret(
        id=of[secrets.c.id],
        application=Application(of[secrets.c.namespace], of[secrets.c.service_account]),
        certificate_fingerprint=of[secrets.c.certificate_fingerprint],
        created_at=from_seconds(of[secrets.c.created_at]),
        not_after=from_seconds(of[secrets.c.not_after]),
        forgotten=of[secrets.c.forgotten_at] is not None,
    )


def _issuance(row: Row[*tuple[object, ...]]) -> Issuance:
    of = row._mapping
    return Issuance(
        certificate_fingerprint=of[issuances.c.certificate_fingerprint],
        secret_id=of[issuances.c.secret_id],
        pod_name=of[issuances.c.pod_name],
        pod_uid=of[issuances.c.pod_uid],
        public_key_fingerprint=of[issuances.c.public_key_fingerprint],
        not_after=from_seconds(of[issuances.c.not_after]),
        revoked=of[revoked_replicas.c.pod_uid] is not None,
    )
