"""The webhook's settings, from flags (`--pod-agent-image`) or variables (`VANADIUM_WEBHOOK_POD_AGENT_IMAGE`).

None of them is a secret; keys are given as names of files.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, CliApp, SettingsConfigDict

from service.addresses import Network, https_address, networks
from service.errors import SettingsError
from service.listening import EVERYWHERE
from service.settings import explained, flag, unknown, wrong
from webhook.annotations import RESOURCES
from webhook.policy import CLUSTER_NAMESPACES
from webhook.resources import ResourceError, Resources
from webhook.sidecar import USER, Configuration

PREFIX = "VANADIUM_WEBHOOK_"
LogLevel = Literal["debug", "info", "warning", "error"]
PullPolicy = Literal["Always", "IfNotPresent", "Never"]
Healing = Literal["off", "dry-run", "on"]
_DNS_LABEL = r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"
_RESOURCES = Resources()


class Settings(BaseSettings):
    """The settings of the webhook. `--help` prints one line for each field."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        cli_prog_name="vanadium-webhook",
        cli_kebab_case=True,
        cli_hide_none_type=True,
        frozen=True,
    )

    host: str = Field(
        EVERYWHERE, description="address to listen at; ::, all of this machine's, IPv4 and IPv6"
    )
    port: int = Field(8443, ge=0, le=65535, description="port to listen at; 0 takes a free one")
    tls_certificate_file: Path | None = Field(
        None, description="chain to serve with, in PEM; read again on change"
    )
    tls_key_file: Path | None = Field(None, description="its private key, in PEM")
    tls_poll_seconds: float = Field(
        10, gt=0, le=3600, description="how often to look for a change of the two"
    )
    log_level: LogLevel = Field("info", description="the least important level to log")

    namespace: Annotated[str, Field(pattern=_DNS_LABEL)] = Field(
        "vanadium-system", description="our own namespace, whose Pods are left alone"
    )
    excluded_namespaces: str = Field("", description="further namespaces to leave alone, commas between them")

    pod_agent_image: str = Field(
        min_length=1, pattern=r"^\S+$", description="image of the injected container"
    )
    pod_agent_image_pull_policy: PullPolicy | None = Field(
        None, description="when a kubelet pulls it: Always, IfNotPresent or Never; default: as its tag says"
    )
    pod_agent_image_pull_secrets: str = Field(
        "",
        description="Secrets of each namespace to pull it with, commas between them; added to those of a Pod",
    )
    pod_agent_user: Annotated[str, Field(pattern=r"^(cluster|[1-9][0-9]{0,8})$")] = Field(
        str(USER),
        description="UID and GID of the injected container; cluster: left out, where a policy chooses them",
    )
    pod_agent_log_level: LogLevel = Field(
        "info", description="its log level where no annotation says another"
    )
    pod_agent_cpu_request: str = Field(_RESOURCES.cpu_request, description="its CPU request")
    pod_agent_cpu_limit: str = Field(_RESOURCES.cpu_limit, description="its CPU limit")
    pod_agent_memory_request: str = Field(_RESOURCES.memory_request, description="its memory request")
    pod_agent_memory_limit: str = Field(_RESOURCES.memory_limit, description="its memory limit")
    pod_agent_ephemeral_storage_request: str | None = Field(
        None, description="its request of local storage, for its log"
    )
    pod_agent_ephemeral_storage_limit: str | None = Field(None, description="its limit of local storage")
    namespace_images: bool = Field(
        False,
        description="whether a namespace's annotations may state its image, and Secrets to pull it with",
    )
    cluster_agent_url: str = Field(
        "https://cluster-agent.vanadium-system.svc:8193",
        description="where pod agents find the cluster agent",
    )
    cluster_agent_server_name: str = Field(
        "cluster-agent.vanadium-system.svc",
        min_length=1,
        description="the name that its certificate must have",
    )
    token_audience: str = Field(
        "vanadium-cluster-agent", min_length=1, description="audience of the tokens that it accepts"
    )
    kubeconfig: Path | None = Field(None, description="how to reach the API server; default: as a Pod of it")
    reconcile: bool = Field(
        True, description="keep the namespaces' Secrets and the control plane's certificates"
    )
    api_server_addresses: str = Field(
        "",
        description="addresses and networks that API servers call from, commas between them, beside those of "
        "the Service kubernetes",
    )
    webhook_configuration: str = Field(
        "vanadium-webhook", min_length=1, description="our MutatingWebhookConfiguration, for its caBundle"
    )
    native_sidecar: bool | None = Field(
        None, description="true or false; default: where every kubelet is of Kubernetes 1.29 or newer"
    )

    heal: Healing = Field(
        "off",
        description="evict Pods that lack an identity which they could have; dry-run only tells; needs the "
        "rights of deploy/components/healer, or healer-dry-run",
    )
    heal_per_minute: float = Field(30, gt=0, le=6000, description="evictions a minute, in all namespaces")
    heal_older_than: str = Field(
        "",
        pattern=r"^(\d{1,4}\.\d{1,4}\.\d{1,4})?$",
        description="also Pods whose pod agent's image has the tag of an older version than this",
    )

    @field_validator("cluster_agent_url")
    @classmethod
    def _is_https(cls, value: str) -> str:
        return https_address(value)

    @field_validator("api_server_addresses")
    @classmethod
    def _are_networks(cls, value: str) -> str:
        networks(value)
        return value

    @model_validator(mode="after")
    def _agree(self) -> Settings:
        files = " and ".join(flag(PREFIX, field) for field in ("tls_certificate_file", "tls_key_file"))
        if (self.tls_certificate_file is None) != (self.tls_key_file is None):
            raise ValueError(f"{files}: expected both or neither")
        if not self.reconcile and self.tls_certificate_file is None:
            raise ValueError(f"{files}: needed by {flag(PREFIX, 'reconcile')} false, which makes none")
        self._resources()
        return self

    def injection(self) -> Configuration:
        """The settings that go into the Pods."""
        return Configuration(
            image=self.pod_agent_image,
            cluster_agent_url=self.cluster_agent_url,
            cluster_agent_server_name=self.cluster_agent_server_name,
            token_audience=self.token_audience,
            native_sidecar=self.native_sidecar,
            log_level=self.pod_agent_log_level,
            resources=self._resources(),
            pull_policy=self.pod_agent_image_pull_policy,
            pull_secrets=_names(self.pod_agent_image_pull_secrets),
            user=None if self.pod_agent_user == "cluster" else int(self.pod_agent_user),
        )

    def api_server_networks(self) -> list[Network]:
        """Where API servers call from, beside what the API server itself states."""
        return networks(self.api_server_addresses)

    def oldest_pod_agent(self) -> tuple[int, int, int] | None:
        """The oldest supported version of the pod agent; None: each is."""
        if not self.heal_older_than:
            return None
        major, minor, patch = map(int, self.heal_older_than.split("."))
        return major, minor, patch

    def left_alone(self) -> frozenset[str]:
        """The namespaces whose Pods never get an identity."""
        return CLUSTER_NAMESPACES | {self.namespace} | set(_names(self.excluded_namespaces))

    def _resources(self) -> Resources:
        stated = {
            field: getattr(self, name)
            for field in RESOURCES.values()
            if (name := f"pod_agent_{field}") in self.model_fields_set
        }
        try:
            return Resources().changed(stated)
        except ResourceError as error:
            raise ValueError(
                wrong(PREFIX, f"pod_agent_{error.field}", str(error), stated[error.field])
            ) from error


def _names(text: str) -> tuple[str, ...]:
    return tuple(name for part in text.split(",") if (name := part.strip()))


def load_settings(arguments: Sequence[str], environment: Mapping[str, str] = os.environ) -> Settings:
    """The settings from flags, else from the environment, else the defaults.

    Raises:
        SettingsError: one is missing or cannot be used; the message names its flag and its variable.
        SystemExit: a flag is unknown (status 2), or `--help` has been shown (status 0).
    """
    if wrong := unknown(PREFIX, Settings.model_fields, environment):
        raise SettingsError(wrong)
    try:
        return CliApp.run(Settings, cli_args=list(arguments))
    except ValidationError as error:
        raise SettingsError(explained(PREFIX, error.errors())) from error
