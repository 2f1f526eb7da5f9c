"""The settings of JWT-SVIDs."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field
from pydantic_settings import BaseSettings

from cluster_agent.jwt.rotation import LONGEST_TTL, JwtSchedule

_LONGEST_TTL_SECONDS = int(LONGEST_TTL.total_seconds())


def _is_an_issuer(value: str) -> str:
    """OpenID Connect Discovery 1.0, section 3."""
    if not value:
        return value
    url = urlsplit(value)
    plain = value.isascii() and value.isprintable() and " " not in value
    if url.scheme != "https" or not url.hostname or url.username or url.query or url.fragment or not plain:
        raise ValueError("expected an https:// address without user, query and fragment")
    if value.endswith("/") or "?" in value or "#" in value:
        raise ValueError("expected an address that ends without '/', '?' and '#'")
    return value


IssuerUrl = Annotated[str, AfterValidator(_is_an_issuer)]


class JwtSettings(BaseSettings):
    """A part of the cluster agent's settings."""

    jwt_ttl_seconds: int = Field(
        default=300, ge=10, le=_LONGEST_TTL_SECONDS, description="life of a JWT-SVID, a bearer token"
    )
    rotate_jwt_key_days: float = Field(
        default=30,
        ge=0,
        le=3650,
        description="how long a JWT key signs before the next is prepared; 0: by command only",
    )
    oidc_issuer: IssuerUrl = Field(
        default="",
        description="https:// address at which OIDC discovery publishes the JWT keys for everybody, and the "
        "iss of JWT-SVIDs; without it there is neither",
    )
    oidc_port: int = Field(default=8195, ge=0, le=65535, description="port of OIDC discovery")
    oidc_certificate_directory: Path | None = Field(
        default=None,
        description="tls.crt and tls.key of OIDC discovery; without it, plain HTTP for an ingress",
    )

    @property
    def jwt_ttl(self) -> timedelta:
        return timedelta(seconds=self.jwt_ttl_seconds)

    def jwt_schedule(self, longest_blessing: timedelta, margin: timedelta) -> JwtSchedule:
        """When a replica's blessing lives at most that long."""
        every = timedelta(days=self.rotate_jwt_key_days) if self.rotate_jwt_key_days else None
        return JwtSchedule(every, longest_blessing, margin)
