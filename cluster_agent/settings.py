"""The cluster agent's settings, from flags (`--name-prefix acme:prod`) and environment
(`VANADIUM_CLUSTER_AGENT_NAME_PREFIX`); a flag wins. docs/settings.md lists them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, ValidationError, model_validator
from pydantic_settings import CliSettingsSource, SettingsConfigDict

from blessings import AccessList, Name
from cluster_agent.audit.settings import AuditSettings
from cluster_agent.flags import PREFIX, contradictions
from cluster_agent.issuing.ttl_policy import TtlPolicy
from cluster_agent.jwt.settings import JwtSettings
from cluster_agent.publications import PollingPace
from cluster_agent.rate_limits import Rate, Rates
from cluster_agent.roots.rotation import Schedule
from cluster_agent.setting_types import DatabaseUrl, FileOrAddress, NamePrefix, Patterns, PerSecond
from cluster_agent.store.database import SQLITE
from service.errors import SettingsError
from service.listening import EVERYWHERE
from service.settings import explained, unknown

_SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_LONGEST_TTL_SECONDS = 24 * 3600


class Settings(AuditSettings, JwtSettings):
    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        cli_kebab_case=True,
        cli_prog_name="cluster-agent",
        extra="forbid",
        frozen=True,
    )

    name_prefix: NamePrefix = Field(
        description="blessing prefix of every application, its first component the root: acme:prod"
    )
    claim: Literal["none", "required"] = Field(
        default="none",
        description="none: the agent makes its own root (quick start); required: it has none, and waits for "
        "an administrator whose root delegates the name prefix to it",
    )
    claim_code_file: Path | None = Field(
        default=None, description="what the claiming administrator must know; read at each attempt"
    )
    issuing_directory: Path | None = Field(
        default=None,
        description="tls.crt, tls.key and ca.crt of a signing certificate for the name prefix, kept by "
        "cert-manager or somebody else, and read again when they change; without it the agent makes a root",
    )
    data_directory: Path = Field(
        description="keys and store; survives restarts", default=Path("/var/lib/vanadium")
    )
    keys_directory: Path | None = Field(
        default=None,
        description="root.pem, issuing.pem and bootstrap.pem, made by cluster-agent-keys and shared by all "
        "replicas; without it they are made in the data directory",
    )
    witness_file: Path | None = Field(
        default=None,
        description="what the store must not be older than; by default DATA-DIRECTORY.witness with SQLite, "
        "none with a database_url",
    )
    database_url: DatabaseUrl | None = Field(
        default=None,
        description="postgresql://USER@HOST/DATABASE, for several replicas; without it, SQLite in the data "
        "directory",
    )
    serving_directory: Path = Field(
        description="tls.crt, tls.key and ca.crt of the control plane; read again when they change",
        default=Path("/var/run/secrets/vanadium.io/serving"),
    )
    host: str = Field(
        default=EVERYWHERE, description="address to listen at; ::, all of this machine's, IPv4 and IPv6"
    )
    port: int = Field(default=8193, ge=0, le=65535, description="port to listen at, TLS 1.3")
    health_port: int = Field(
        default=8194, ge=0, le=65535, description="plain HTTP: /healthz, /readyz, /metrics"
    )
    administrators: Patterns = Field(
        default=(), description="patterns of names that may administer; a claim adds its own"
    )
    secret_keepers: Patterns = Field(
        default=("vanadium-control-plane:webhook",),
        description="patterns of names that may make, list and forget secrets, and may not administer",
    )
    not_administrators: Patterns = Field(
        default=(), description="patterns of names that may do neither, whatever the others say"
    )
    attestor: Literal["token-review", "jwks"] = Field(
        default="token-review", description="who judges tokens: the API server, or its published keys offline"
    )
    token_audience: str = Field(
        default="vanadium-cluster-agent", min_length=1, description="audience that tokens must have"
    )
    jwks_location: FileOrAddress = Field(
        default="", description="file or https:// address of the token issuer's key set"
    )
    jwks_issuer: str = Field(default="", description="the tokens' iss")
    pod_certificates: Literal["auto", "off"] = Field(
        default="auto",
        description="auto: sign PodCertificateRequests where the API server has them; off: never",
    )
    ttl_seconds: int = Field(
        default=3600, le=_LONGEST_TTL_SECONDS, description="life of a replica certificate"
    )
    longest_ttl_seconds: int = Field(
        default=_LONGEST_TTL_SECONDS,
        ge=1,
        le=_LONGEST_TTL_SECONDS,
        description="no application's may be longer; a phase of a root's rotation takes that long",
    )
    rotate_root_days: float = Field(
        default=365,
        ge=0,
        le=3650,
        description="how long an identity root signs before the next; 0: by command only",
    )
    root_activation_share: float = Field(
        default=1, ge=0, le=1, description="of the live replicas, must have a new root before it signs"
    )
    root_margin_seconds: float = Field(
        default=120,
        gt=0,
        le=86_400,
        description="for all replicas of the agent to notice a phase, and for clocks",
    )
    minimum_ttl_seconds: int = Field(default=300, ge=1, description="the shortest life that may be asked for")
    max_connections: int = Field(
        default=1000, ge=1, le=1_000_000, description="open connections, handshakes included"
    )
    max_connections_per_address: int = Field(
        default=100, ge=1, le=1_000_000, description="of them, from one address"
    )
    nameless_share: float = Field(
        default=0.3,
        gt=0,
        le=1,
        description="of max_connections, may be without a client certificate, handshakes included",
    )
    handshake_seconds: float = Field(
        default=5, gt=0, le=3600, description="for a TLS handshake, and for its end"
    )
    request_seconds: float = Field(
        default=10,
        gt=0,
        le=3600,
        description="for a request to arrive whole, and to see that an answer is taken",
    )
    rate_per_replica: PerSecond = Field(
        default=1,
        description="requests a second of one replica; after a pause 20 times that at once",
    )
    rate_per_application: PerSecond = Field(
        default=100,
        description="requests a second with one application's bootstrap credential",
    )
    rate_per_address: PerSecond = Field(
        default=5,
        description="of them from one address, and requests a second without a certificate",
    )
    rate_per_administrator: PerSecond = Field(
        default=100, description="requests a second of one administrator"
    )
    token_reviews_at_a_time: int = Field(
        default=32, ge=1, le=100_000, description="tokens under review at once; eight times as many may wait"
    )
    crl_seconds: int = Field(
        default=3600,
        ge=60,
        le=2_592_000,
        description="life of a revocation list; it is made anew at half of it",
    )
    polls_per_second: PerSecond = Field(
        default=100,
        description="how often all replicas together ask what is new: sets their pause",
    )
    shortest_poll_seconds: float = Field(
        default=15, ge=1, le=86_400, description="the shortest pause of a replica between two such questions"
    )
    shutdown_delay_seconds: float = Field(
        default=0,
        ge=0,
        le=3600,
        description="go on serving after SIGTERM, no longer ready, until Services noticed",
    )
    kubernetes_api_url: str = Field(
        default="https://kubernetes.default.svc", description="for TokenReview and Events"
    )
    kubernetes_token_file: Path = Field(
        default=_SERVICE_ACCOUNT / "token", description="our own token for it; read at each call"
    )
    kubernetes_ca_file: Path = Field(default=_SERVICE_ACCOUNT / "ca.crt", description="its authority")
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="the least important level to log"
    )

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        if found := "; ".join(contradictions(self)):
            raise ValueError(found)
        return self

    @property
    def prefix(self) -> Name:
        return Name.parse(self.name_prefix)

    @property
    def store_url(self) -> str:
        if self.database_url is not None:
            return self.database_url.get_secret_value()
        return f"sqlite:///{self.data_directory / SQLITE}"

    @property
    def witness(self) -> Path | None:
        if self.witness_file is not None or self.database_url is not None:
            return self.witness_file
        return self.data_directory.with_name(f"{self.data_directory.name}.witness")

    @property
    def access_list(self) -> AccessList:
        return AccessList.from_value(
            {"in": list(self.administrators), "not_in": list(self.not_administrators)}, "administrators"
        )

    @property
    def secret_keepers_list(self) -> AccessList:
        return AccessList.from_value(
            {"in": list(self.secret_keepers), "not_in": list(self.not_administrators)}, "secret_keepers"
        )

    @property
    def rates(self) -> Rates:
        return Rates(
            replica=Rate(self.rate_per_replica),
            application=Rate(self.rate_per_application),
            address=Rate(self.rate_per_address),
            administrator=Rate(self.rate_per_administrator),
        )

    @property
    def root_schedule(self) -> Schedule:
        return Schedule(
            every=timedelta(days=self.rotate_root_days) if self.rotate_root_days else None,
            share=self.root_activation_share,
            longest_ttl=timedelta(seconds=self.longest_ttl_seconds),
            margin=timedelta(seconds=self.root_margin_seconds),
        )

    @property
    def pace(self) -> PollingPace:
        return PollingPace(self.polls_per_second, timedelta(seconds=self.shortest_poll_seconds))

    @property
    def ttl(self) -> TtlPolicy:
        return TtlPolicy(
            default=timedelta(seconds=self.ttl_seconds), minimum=timedelta(seconds=self.minimum_ttl_seconds)
        )


def read_settings(arguments: Sequence[str], environment: Mapping[str, str] = os.environ) -> Settings:
    """The settings of this process. Raises SettingsError, which names each wrong setting."""
    if wrong := unknown(PREFIX, Settings.model_fields, environment):
        raise SettingsError(wrong)
    try:
        source: CliSettingsSource[Settings] = CliSettingsSource(Settings, cli_parse_args=list(arguments))
        return Settings(_cli_settings_source=source)  # type: ignore[call-arg]  # the plugin does not know it
    except ValidationError as error:
        raise SettingsError(explained(PREFIX, error.errors(), secret=("database_url",))) from error
