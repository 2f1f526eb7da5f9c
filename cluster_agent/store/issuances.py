"""The issued certificates. Those that arrive while others are being recorded are recorded together."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, bindparam, delete, func, select, tuple_

from cluster_agent.audit.records import Record
from cluster_agent.errors import (
    KeyReused,
    PodBusy,
    Refusal,
    ReplicaRevoked,
    SecretForgotten,
    TooManyCertificates,
)
from cluster_agent.fair_queue import Tenant
from cluster_agent.model import Issuance, PodRequestAnswer, Secret
from cluster_agent.store.access import Access, available, from_seconds, seconds
from cluster_agent.store.batches import Batches, pause_seconds
from cluster_agent.store.issuance_rows import issuance_of, issuance_row
from cluster_agent.store.locks import hold_off_revocations, hold_pods
from cluster_agent.store.pod_requests import PodRequests
from cluster_agent.store.published_revocations import publish_anew
from cluster_agent.store.revocations import revoked_among
from cluster_agent.store.secrets import secret_of
from cluster_agent.store.tables import issuances, issuers, revoked_replicas, secrets

# The limit for one Pod. It has two while it renews, and one more for each start of its pod agent. Without a
# limit, one Pod could make its application's revocation list longer than clients read.
MOST_LIVE_OF_POD = 32
# Beyond this number its certificates get the shortest life: the Pod waits minutes for the next one, and not a
# day.
MOST_OF_FULL_LIFE = 16
_DROPPED_AT_ONCE = 5000


@dataclass(frozen=True)
class Asked:
    """An issuance to record, with records for the audit. `now` is the time; None means before everything.
    `most` is how many certificates of its Pod may be live, including this one; `answer` contains it, where a
    PodCertificateRequest asked for it."""

    issuance: Issuance
    records: Sequence[Record] = ()
    now: datetime | None = None
    most: int = MOST_LIVE_OF_POD
    answer: PodRequestAnswer | None = None


@dataclass(frozen=True)
class Recorded:
    """The result of a batch: the refusals by certificate, and the issuers of the recorded certificates, as
    (name, key, end), if they are new or end later than before."""

    refused: Mapping[str, Refusal]
    renewed: Sequence[tuple[str, str, int]] = ()


class Issuances:
    """The table of issuances. Every call may raise Unavailable, and TooManyRequests."""

    def __init__(self, access: Access, pod_requests: PodRequests) -> None:
        self._access = access
        self._pod_requests = pod_requests
        # The issuers that this process has already recorded: (name, key, end).
        self._issuers: set[tuple[str, str, int]] = set()
        self._adding = (
            access.insert(issuances).on_conflict_do_nothing().returning(issuances.c.certificate_fingerprint)
        )
        self.asked = Batches(
            access.writer,
            self._add,
            pause=lambda last: asyncio.sleep(pause_seconds(last)),
        )
        self.renewals = Batches(access.reader, self._with_secrets)

    async def add(
        self,
        issuance: Issuance,
        *records: Record,
        now: datetime | None = None,
        most_live: int = MOST_LIVE_OF_POD,
        answer: PodRequestAnswer | None = None,
    ) -> None:
        """Records an issuance, and the `answer` that contains it, if there is one; durable when it returns.

        Raises KeyReused, TooManyCertificates, PodBusy, and SecretForgotten or ReplicaRevoked when that came
        first; then nothing is recorded. `most_live` is how many certificates of its Pod may be live,
        including this one. Without `now`, expired certificates that are still recorded count as live.
        """
        tenant = (issuance.secret_id, issuance.pod_uid)
        refusal = await self.asked.submit(Asked(issuance, records, now, most_live, answer), tenant)
        if refusal is not None:
            raise refusal

    async def with_secret(
        self, certificate_fingerprint: str, tenant: Tenant = ()
    ) -> tuple[Issuance, Secret] | None:
        """The issuance of that certificate, with the secret that it was issued under; `tenant` asks for
        it."""
        return await self.renewals.submit(certificate_fingerprint, tenant)

    async def drop_expired(self, now: datetime) -> int:
        """Removes the records of certificates that can no longer be presented; returns how many. It works in
        parts, so that issuing never waits long for it."""
        expired = (
            select(issuances.c.certificate_fingerprint)
            .where(issuances.c.not_after < seconds(now))
            .limit(_DROPPED_AT_ONCE)
        )
        statement = delete(issuances).where(issuances.c.certificate_fingerprint.in_(expired))

        def drop(connection: Connection) -> int:
            self._issuers = {one for one in self._issuers if one[2] >= seconds(now)}
            return connection.execute(statement).rowcount

        return await self._access.drop_in_parts(drop, _DROPPED_AT_ONCE)

    def _add(self, batch: Sequence[Asked]) -> Sequence[Refusal | None]:
        # The items of a batch arrived within moments.
        now = min((one.now for one in batch if one.now is not None), default=None)

        def add(connection: Connection) -> Recorded:
            made = self.record(connection, batch, now)
            records = [
                record for one in batch if _certificate(one) not in made.refused for record in one.records
            ]
            first = next((one.records[0] for one in batch if one.records), None)
            if first is not None:
                records = [*(_issuer_renewed(row, first.at) for row in made.renewed), *records]
            self._access.append(connection, *records)
            return made

        made = available(lambda: self._access.transaction(add))
        self._issuers |= _issuers([one.issuance for one in batch if _certificate(one) not in made.refused])
        return [made.refused.get(_certificate(one)) for one in batch]

    def record(self, connection: Connection, batch: Sequence[Asked], now: datetime | None = None) -> Recorded:
        """Records the issuances that are allowed, and refuses the rest."""
        hold_off_revocations(connection)
        # The lock makes ForgetSecret wait: every issuance recorded here was recorded before it.
        live = set(
            connection.scalars(LIVE_SECRETS, {"ids": sorted({one.issuance.secret_id for one in batch})})
        )
        pods = {one.issuance.pod_uid for one in batch}
        revoked = revoked_among(connection, pods)
        busy = hold_pods(connection, pods)
        refused: dict[str, Refusal] = {}
        countable = []
        # In this order, two replicas that certify the same keys wait for each other and do not deadlock.
        for asked in sorted(batch, key=lambda one: one.issuance.public_key_fingerprint):
            one = asked.issuance
            if one.secret_id not in live:
                refused[one.certificate_fingerprint] = SecretForgotten(one.secret_id)
            elif one.pod_uid in revoked:
                refused[one.certificate_fingerprint] = ReplicaRevoked(one.pod_name, one.pod_uid)
            elif one.pod_uid in busy:
                refused[one.certificate_fingerprint] = PodBusy(one.pod_name, one.pod_uid)
            else:
                countable.append(asked)
        refused |= _too_many(connection, countable, now)
        allowed = [one.issuance for one in countable if _certificate(one) not in refused]
        if not allowed:
            return Recorded(refused)
        answers = {_certificate(one): one.answer for one in countable if one.answer is not None}
        self._pod_requests.drop_replaced(
            connection,
            [
                answers[one.certificate_fingerprint]
                for one in allowed
                if one.certificate_fingerprint in answers
            ],
        )
        renewed = self._record_issuers(connection, allowed, now)
        added = set(connection.scalars(self._adding, [issuance_row(one) for one in allowed]))
        if answers and now is not None:
            answered = sorted(added & answers.keys())
            self._pod_requests.record(connection, [answers[one] for one in answered], answered, now)
        certified = {one.certificate_fingerprint for one in allowed} - added
        return Recorded(refused | {one: KeyReused() for one in certified}, renewed)

    def _record_issuers(
        self, connection: Connection, batch: Sequence[Issuance], now: datetime | None
    ) -> Sequence[tuple[str, str, int]]:
        """Records the issuers; returns those that are new here, or end later than before."""
        new = sorted(_issuers(batch) - self._issuers)
        if not new:
            return []
        keys = {(name, key) for name, key, _ in new}
        if len(connection.execute(_KNOWN_ISSUERS, {"keys": sorted(keys)}).all()) < len(keys):
            publish_anew(connection, now)
        adding = self._access.insert(issuers)
        later = adding.excluded.not_after
        adding = adding.on_conflict_do_update(
            index_elements=["name", "issuing_key"],
            set_={"not_after": later},
            where=issuers.c.not_after < later,
        ).returning(issuers.c.name, issuers.c.issuing_key, issuers.c.not_after)
        rows = [{"name": name, "issuing_key": key, "not_after": end} for name, key, end in new]
        return [(row.name, row.issuing_key, row.not_after) for row in connection.execute(adding, rows)]

    def _with_secrets(self, fingerprints: Sequence[str]) -> Sequence[tuple[Issuance, Secret] | None]:
        rows = self._access.rows(_RENEWALS, {"certificates": list(set(fingerprints))})
        known = {row._mapping[issuances.c.certificate_fingerprint]: row for row in rows}
        return [
            (issuance_of(known[one]), secret_of(known[one])) if one in known else None for one in fingerprints
        ]


# Made once, because making a statement costs as much as executing it.
LIVE_SECRETS = (
    select(secrets.c.id)
    .where(secrets.c.id.in_(bindparam("ids", expanding=True)), secrets.c.forgotten_at.is_(None))
    .order_by(secrets.c.id)
    .with_for_update(read=True)
)


_KNOWN_ISSUERS = select(issuers.c.name).where(
    tuple_(issuers.c.name, issuers.c.issuing_key).in_(bindparam("keys", expanding=True))
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


def _certificate(asked: Asked) -> str:
    return asked.issuance.certificate_fingerprint


def _too_many(
    connection: Connection, batch: Sequence[Asked], now: datetime | None
) -> dict[str, TooManyCertificates]:
    """The refusals of certificates that would exceed the limits of their Pods."""
    pods = {"pods": list({one.issuance.pod_uid for one in batch}), "now": 0 if now is None else seconds(now)}
    has: Counter[str] = Counter()
    first: dict[str, datetime] = {}
    for uid, count, end in connection.execute(_LIVE_OF_PODS, pods):
        has[uid], first[uid] = count, from_seconds(end)
    too_many = {}
    for asked in batch:
        one = asked.issuance
        if has[one.pod_uid] >= asked.most:
            until = first.get(one.pod_uid, one.not_after)
            wait = timedelta(0) if asked.now is None else until - asked.now
            too_many[one.certificate_fingerprint] = TooManyCertificates(one.pod_name, one.pod_uid, wait)
        else:
            has[one.pod_uid] += 1
    return too_many


def _issuers(batch: Sequence[Issuance]) -> set[tuple[str, str, int]]:
    certificates = (one.certificate for one in batch if one.certificate is not None)
    return {(one.issuer, one.issuing_key, seconds(one.issuer_not_after)) for one in certificates}


def _issuer_renewed(row: tuple[str, str, int], at: datetime) -> Record:
    name, key, end = row
    return Record("issuer-renewed", at, details={"name": name, "key": key, "notAfter": end})
