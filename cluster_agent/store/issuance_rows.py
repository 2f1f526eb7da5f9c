"""Issuances as rows."""

from __future__ import annotations

from sqlalchemy import Row

from cluster_agent.model import Issuance
from cluster_agent.store.access import from_seconds, seconds
from cluster_agent.store.tables import issuances, revoked_replicas


def issuance_row(issuance: Issuance) -> dict[str, object]:
    """The row of an issuance."""
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


def issuance_of(row: Row[*tuple[object, ...]]) -> Issuance:
    """The issuance in a row with the columns of its table and of the revoked replicas."""
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
