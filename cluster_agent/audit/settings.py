"""The settings of the audit."""

from __future__ import annotations

from pydantic import Field
from pydantic_settings import BaseSettings

from cluster_agent.audit.kinds import MOST_DAYS, MOST_RECORDS, Retention


class AuditSettings(BaseSettings):
    """A part of the cluster agent's settings."""

    audit_days: int = Field(
        default=Retention.days,
        ge=1,
        le=MOST_DAYS,
        description="how long audit records of blessings, JWT-SVIDs and refusals stay in the store",
    )
    audit_administration_days: int = Field(
        default=Retention.administration_days,
        ge=1,
        le=MOST_DAYS,
        description="how long those of administration, secrets and tripwires stay",
    )
    audit_records: int = Field(
        default=Retention.issuing,
        ge=1000,
        le=MOST_RECORDS,
        description="how many of blessings; the oldest go first",
    )
    audit_other_records: int = Field(
        default=Retention.others,
        ge=1000,
        le=MOST_RECORDS,
        description="how many of secrets, of JWT-SVIDs, of tripwires, of refusals",
    )

    @property
    def retention(self) -> Retention:
        return Retention(
            days=self.audit_days,
            administration_days=self.audit_administration_days,
            issuing=self.audit_records,
            others=self.audit_other_records,
        )
