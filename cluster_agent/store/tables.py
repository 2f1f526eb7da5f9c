"""The current tables; migrations/versions contains their history. Times are in whole seconds since the epoch,
UTC."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    and_,
)

METADATA = MetaData()
# SQLite's strict tables have one integer type, as wide as PostgreSQL's BIGINT.
_WHOLE = BigInteger().with_variant(Integer, "sqlite")
VOLUME = "volume"
# SQLite compares texts by their bytes anyway.
_BYTES = Text().with_variant(Text(collation="C"), "postgresql")

secrets = Table(
    "secrets",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("namespace", Text, nullable=False),
    Column("service_account", Text, nullable=False),
    Column("certificate_fingerprint", Text, nullable=False, unique=True),
    Column("created_at", _WHOLE, nullable=False),
    Column("not_after", _WHOLE, nullable=False),
    Column("forgotten_at", _WHOLE),
    # How the application's pods get certificates under it: NULL by a bootstrap credential, `volume` by
    # PodCertificateRequests, which need none. An application has at most one of the latter.
    Column("delivery", Text),
    Index("secrets_of_namespaces", "namespace", "id"),
    Index("secrets_application", "namespace", "service_account"),
)
Index(
    "secrets_volume",
    secrets.c.namespace,
    secrets.c.service_account,
    unique=True,
    postgresql_where=and_(secrets.c.delivery == VOLUME, secrets.c.forgotten_at.is_(None)),
    sqlite_where=and_(secrets.c.delivery == VOLUME, secrets.c.forgotten_at.is_(None)),
)

issuances = Table(
    "issuances",
    METADATA,
    Column("certificate_fingerprint", Text, primary_key=True),
    Column("secret_id", Text, ForeignKey("secrets.id"), nullable=False),
    Column("pod_name", Text, nullable=False),
    Column("pod_uid", Text, nullable=False),
    Column("public_key_fingerprint", Text, nullable=False, unique=True),
    Column("not_after", _WHOLE, nullable=False),
    # Empty for certificates issued before revocation existed.
    Column("serial", Text),
    Column("issuer", Text),
    Column("issuing_key", Text),
    Index("issuances_not_after", "not_after"),
    Index("issuances_pod_uid", "pod_uid"),
    Index("issuances_secret_id", "secret_id"),
)

# PodCertificateRequests that a replica of the agent works on, and the answers that the API server has not
# taken yet. Times are by the replicas' clocks.
pod_requests = Table(
    "pod_requests",
    METADATA,
    Column("uid", Text, primary_key=True),
    Column("held_by", Text, nullable=False),
    Column("held_until", _WHOLE, nullable=False),
    # The status to set, as JSON, and the certificate in it.
    Column("status", Text),
    Column("certificate_fingerprint", Text),
    Index("pod_requests_held_until", "held_until"),
)

# The keys that this database belongs to, and the name prefix: replicas with others are another cluster
# agent.
authority_keys = Table(
    "authority_keys",
    METADATA,
    Column("role", Text, primary_key=True),
    Column("fingerprint", Text, nullable=False),
)

# The last version of each publication that a replica has acknowledged.
acknowledgements = Table(
    "acknowledgements",
    METADATA,
    Column("pod_uid", Text, primary_key=True),
    Column("kind", Text, primary_key=True),
    Column("version", _WHOLE, nullable=False),
    Column("at", _WHOLE, nullable=False),
)

# The administrator's claim, and the identity roots and their phases; signed by the issuing key, so that write
# access to the database makes neither an administrator nor a root.
documents = Table(
    "documents",
    METADATA,
    Column("name", Text, primary_key=True),
    Column("version", _WHOLE, nullable=False),
    Column("document", Text, nullable=False),
    Column("signature", Text, nullable=False),
)

# Issuers with valid certificates: each has a revocation list. `not_after` is that of its own certificate.
issuers = Table(
    "issuers",
    METADATA,
    Column("name", Text, primary_key=True),
    Column("issuing_key", Text, primary_key=True),
    Column("not_after", _WHOLE, nullable=False),
)

revoked_certificates = Table(
    "revoked_certificates",
    METADATA,
    Column("issuer", Text, primary_key=True),
    Column("issuing_key", Text, primary_key=True),
    Column("serial", Text, primary_key=True),
    Column("revoked_at", _WHOLE, nullable=False),
    Column("not_after", _WHOLE, nullable=False),
)

# `gone` is 1 when the pod was deleted: its record is needed for a day only.
revoked_replicas = Table(
    "revoked_replicas",
    METADATA,
    Column("pod_uid", Text, primary_key=True),
    Column("revoked_at", _WHOLE, nullable=False),
    Column("gone", Integer, nullable=False),
)

revoked_applications = Table(
    "revoked_applications",
    METADATA,
    Column("namespace", Text, primary_key=True),
    Column("service_account", Text, primary_key=True),
    Column("revoked_at", _WHOLE, nullable=False),
)

# One row.
revocation_state = Table(
    "revocation_state",
    METADATA,
    Column("number", _WHOLE, primary_key=True, autoincrement=False),
    Column("published_at", _WHOLE, nullable=False),
    Column("last_revocation", _WHOLE, nullable=False),
)

# Names that an administrator chose, signed by the issuing key, so that write access to the database gives no
# name. Names are ordered by their bytes, whatever the database's collation: those below one are a range.
applications = Table(
    "applications",
    METADATA,
    Column("namespace", Text, primary_key=True),
    Column("service_account", Text, primary_key=True),
    Column("name", _BYTES, nullable=False, unique=True),
    Column("ttl_seconds", _WHOLE),
    Column("chain", Text),
    Column("signature", Text, nullable=False),
    Column("registered_at", _WHOLE, nullable=False),
    # Separated by spaces; also signed.
    Column("dns_names", Text),
)

# Which applications have a DNS name: an index of `applications.dns_names`, from which no certificate is made.
application_dns_names = Table(
    "application_dns_names",
    METADATA,
    Column("dns_name", Text, primary_key=True),
    Column("namespace", Text, primary_key=True),
    Column("service_account", Text, primary_key=True),
)

# `base_*` is the last record that was removed from the chain's beginning; cluster_agent/audit explains it.
audit_chains = Table(
    "audit_chains",
    METADATA,
    Column("chain", Text, primary_key=True),
    Column("base_number", _WHOLE, nullable=False),
    Column("base_hash", Text, nullable=False),
)

audit_records = Table(
    "audit_records",
    METADATA,
    Column("chain", Text, primary_key=True),
    Column("number", _WHOLE, primary_key=True),
    Column("at", _WHOLE, nullable=False),
    Column("record", Text, nullable=False),
    Column("hash", Text, nullable=False),
)
