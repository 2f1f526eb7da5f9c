"""The tables of the audit: cluster_agent/audit says what their columns are for."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Integer, Table, Text

from cluster_agent.store.tables import METADATA

_NUMBER = BigInteger().with_variant(Integer, "sqlite")

# A chain's signed head, and its signed base (what came before was removed in time). `witnessed` is for
# replicas of an older version only, which run on while they are replaced one by one: nobody signed it.
audit_chains = Table(
    "audit_chains",
    METADATA,
    Column("chain", Text, primary_key=True),
    Column("number", _NUMBER, nullable=False),
    Column("hash", Text, nullable=False),
    Column("key", Text, nullable=False),
    Column("signature", Text, nullable=False),
    Column("base_number", _NUMBER, nullable=False),
    Column("base_hash", Text, nullable=False),
    Column("base_key", Text, nullable=False),
    Column("base_signature", Text, nullable=False),
    Column("witnessed", _NUMBER, nullable=False),
)

audit_records = Table(
    "audit_records",
    METADATA,
    Column("chain", Text, primary_key=True),
    Column("number", _NUMBER, primary_key=True),
    Column("at", _NUMBER, nullable=False),
    Column("record", Text, nullable=False),
    Column("hash", Text, nullable=False),
)
