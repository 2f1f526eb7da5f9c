"""All tables. What version 0.1.0 wrote into a SQLite file, its secrets and issuances, is kept.

A migration that a release contains is never changed: the next change of a table is a migration of its own.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "r0001"
down_revision = None

_WHOLE = sa.BigInteger().with_variant(sa.Integer, "sqlite")
_BYTES = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    if sa.inspect(op.get_bind()).has_table("secrets"):
        # Version 0.1.0 had no revocation.
        for name in ("serial", "issuer", "issuing_key"):
            op.add_column("issuances", sa.Column(name, sa.Text))
    else:
        _secrets_and_issuances()
    op.create_index("secrets_of_namespaces", "secrets", ["namespace", "id"])
    op.create_index("secrets_application", "secrets", ["namespace", "service_account"])
    op.create_index("issuances_pod_uid", "issuances", ["pod_uid"])
    op.create_index("issuances_secret_id", "issuances", ["secret_id"])
    _table(
        "authority_keys",
        sa.Column("role", sa.Text, primary_key=True),
        sa.Column("fingerprint", sa.Text, nullable=False),
    )
    _table(
        "acknowledgements",
        sa.Column("pod_uid", sa.Text, primary_key=True),
        sa.Column("kind", sa.Text, primary_key=True),
        sa.Column("version", _WHOLE, nullable=False),
        sa.Column("at", _WHOLE, nullable=False),
    )
    _table(
        "documents",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("version", _WHOLE, nullable=False),
        sa.Column("document", sa.Text, nullable=False),
        sa.Column("signature", sa.Text, nullable=False),
    )
    _revocation()
    _table(
        "applications",
        sa.Column("namespace", sa.Text, primary_key=True),
        sa.Column("service_account", sa.Text, primary_key=True),
        sa.Column("name", _BYTES, nullable=False, unique=True),
        sa.Column("ttl_seconds", _WHOLE),
        sa.Column("chain", sa.Text),
        sa.Column("signature", sa.Text, nullable=False),
        sa.Column("registered_at", _WHOLE, nullable=False),
    )
    _audit()
    if op.get_context().dialect.name == "sqlite":
        # Version 0.1.0 reads this, and refuses what it does not know.
        op.execute("PRAGMA user_version = 2")


def _table(name: str, *columns: sa.schema.SchemaItem, with_rowid: bool = True) -> None:
    op.create_table(name, *columns, sqlite_strict=True, sqlite_with_rowid=with_rowid)


def _secrets_and_issuances() -> None:
    _table(
        "secrets",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("namespace", sa.Text, nullable=False),
        sa.Column("service_account", sa.Text, nullable=False),
        sa.Column("certificate_fingerprint", sa.Text, nullable=False, unique=True),
        sa.Column("created_at", _WHOLE, nullable=False),
        sa.Column("not_after", _WHOLE, nullable=False),
        sa.Column("forgotten_at", _WHOLE),
    )
    _table(
        "issuances",
        sa.Column("certificate_fingerprint", sa.Text, primary_key=True),
        sa.Column("secret_id", sa.Text, sa.ForeignKey("secrets.id"), nullable=False),
        sa.Column("pod_name", sa.Text, nullable=False),
        sa.Column("pod_uid", sa.Text, nullable=False),
        sa.Column("public_key_fingerprint", sa.Text, nullable=False, unique=True),
        sa.Column("not_after", _WHOLE, nullable=False),
        sa.Column("serial", sa.Text),
        sa.Column("issuer", sa.Text),
        sa.Column("issuing_key", sa.Text),
    )
    op.create_index("issuances_not_after", "issuances", ["not_after"])


def _revocation() -> None:
    _table(
        "issuers",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("issuing_key", sa.Text, primary_key=True),
        sa.Column("not_after", _WHOLE, nullable=False),
    )
    _table(
        "revoked_certificates",
        sa.Column("issuer", sa.Text, primary_key=True),
        sa.Column("issuing_key", sa.Text, primary_key=True),
        sa.Column("serial", sa.Text, primary_key=True),
        sa.Column("revoked_at", _WHOLE, nullable=False),
        sa.Column("not_after", _WHOLE, nullable=False),
    )
    _table(
        "revoked_replicas",
        sa.Column("pod_uid", sa.Text, primary_key=True),
        sa.Column("revoked_at", _WHOLE, nullable=False),
        sa.Column("gone", sa.Integer, nullable=False),
    )
    _table(
        "revoked_applications",
        sa.Column("namespace", sa.Text, primary_key=True),
        sa.Column("service_account", sa.Text, primary_key=True),
        sa.Column("revoked_at", _WHOLE, nullable=False),
    )
    _table(
        "revocation_state",
        sa.Column("number", _WHOLE, primary_key=True, autoincrement=False),
        sa.Column("published_at", _WHOLE, nullable=False),
        sa.Column("last_revocation", _WHOLE, nullable=False),
    )
    op.execute("INSERT INTO revocation_state (number, published_at, last_revocation) VALUES (1, 0, 1)")


def _audit() -> None:
    _table(
        "audit_chains",
        sa.Column("chain", sa.Text, primary_key=True),
        sa.Column("base_number", _WHOLE, nullable=False),
        sa.Column("base_hash", sa.Text, nullable=False),
    )
    _table(
        "audit_records",
        sa.Column("chain", sa.Text, primary_key=True),
        sa.Column("number", _WHOLE, primary_key=True),
        sa.Column("at", _WHOLE, nullable=False),
        sa.Column("record", sa.Text, nullable=False),
        sa.Column("hash", sa.Text, nullable=False),
        with_rowid=False,
    )
