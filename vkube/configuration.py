"""vkube.cfg: which cluster, and what the cluster agent and the pod agents are like. JSON or YAML.

The file is found in the current directory, or named with --config. Without one the defaults are in force. Its
JSON Schema is docs/vkube-cfg.schema.json.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic.alias_generators import to_camel

from vkube.errors import ConfigurationError

FILE = "vkube.cfg"
SCHEMA_ID = "https://vanadium.io/schemas/vkube-cfg.json"
_LONGEST_BYTES = 1 << 20
_DNS_LABEL = r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$"
_IMAGE = r"^\S+$"
_QUANTITY = r"^[0-9]+(\.[0-9]+)?(m|k|Ki|M|Mi|G|Gi|T|Ti)?$"
# Not one with a digest: that is of one image only.
_CLUSTER_AGENT_IMAGE = re.compile(r"^((?:\S*/)?)cluster-agent((?::[^:/@\s]+)?)$")
_Text = Annotated[str, Field(min_length=1, max_length=2048)]
_Quantity = Annotated[str, Field(pattern=_QUANTITY, max_length=32)]


class _Section(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, extra="forbid", frozen=True, strict=True)


class ClusterAgentSection(_Section):
    """The cluster agent: where it runs, and what it needs."""

    namespace: Annotated[str, Field(pattern=_DNS_LABEL)] = Field(
        default="vanadium-system", description="namespace of the control plane"
    )
    image: Annotated[str, Field(pattern=_IMAGE)] = Field(
        default="vanadium/cluster-agent:0.2.0", description="image of the cluster agent"
    )
    cpu: _Quantity | None = Field(default=None, description="CPU that the cluster agent requests: 0.1")
    memory: _Quantity | None = Field(default=None, description="memory that the cluster agent may use: 250M")
    blessing: _Text | None = Field(
        default=None,
        description="name prefix of every application, acme:prod; given by a claim, or at the first start",
    )
    admin: _Text | None = Field(
        default=None, description="pattern of the names that may administer, acme:administrator"
    )
    persistent_volume_claim: Annotated[str, Field(pattern=_DNS_LABEL)] | None = Field(
        default=None, description="name of an existing volume claim for the store"
    )
    persistent_disk: _Text | None = Field(
        default=None, description="name of a Google persistent disk for the store"
    )
    storage: _Quantity | None = Field(
        default=None, description="size of the volume claim that is made for the store: 1Gi"
    )

    @model_validator(mode="after")
    def _one_volume(self) -> Self:
        given = [
            one
            for one in ("persistent_volume_claim", "persistent_disk", "storage")
            if getattr(self, one) is not None
        ]
        if len(given) > 1:
            raise ValueError(f"expected at most one of {', '.join(map(to_camel, given))}")
        return self


class PodAgentSection(_Section):
    """The pod agent, which the webhook adds to Pods."""

    image: Annotated[str, Field(pattern=_IMAGE)] = Field(
        default="vanadium/pod-agent:0.2.0", description="image of the pod agent"
    )


class WebhookSection(_Section):
    """The webhook, which injects the pod agent."""

    image: Annotated[str, Field(pattern=_IMAGE)] | None = Field(
        default=None, description="image of the webhook; by default the one beside clusterAgent.image"
    )


class Configuration(_Section):
    """The whole file."""

    context: _Text | None = Field(
        default=None, description="context of the kubeconfig; by default the current one"
    )
    project: _Text | None = Field(
        default=None, description="on GKE, with zone and cluster instead of context"
    )
    zone: _Text | None = Field(default=None, description="on GKE: zone or region of the cluster")
    cluster: _Text | None = Field(default=None, description="on GKE: name of the cluster")
    cluster_agent: ClusterAgentSection = Field(default_factory=ClusterAgentSection)
    pod_agent: PodAgentSection = Field(default_factory=PodAgentSection)
    webhook: WebhookSection = Field(default_factory=WebhookSection)

    @model_validator(mode="after")
    def _context_or_gke(self) -> Self:
        gke = {"project": self.project, "zone": self.zone, "cluster": self.cluster}
        missing = [name for name, value in gke.items() if value is None]
        if 0 < len(missing) < len(gke):
            raise ValueError(f"project, zone and cluster go together, and {', '.join(missing)} is missing")
        if self.context is not None and not missing:
            raise ValueError("expected context, or project, zone and cluster, not both")
        return self

    @property
    def kubeconfig_context(self) -> str | None:
        """The context's name; on GKE the one that gcloud writes. None is the current context."""
        if self.project is None:
            return self.context
        return f"gke_{self.project}_{self.zone}_{self.cluster}"

    @property
    def webhook_image(self) -> str:
        """The webhook's image: as the cluster agent's, with `webhook` in its place. Raises
        ConfigurationError when that cannot be told."""
        if self.webhook.image is not None:
            return self.webhook.image
        beside = _CLUSTER_AGENT_IMAGE.sub(r"\1webhook\2", self.cluster_agent.image)
        if beside == self.cluster_agent.image:
            raise ConfigurationError(
                f"webhook.image: expected, because clusterAgent.image is {self.cluster_agent.image}, whose "
                "last part is not cluster-agent"
            )
        return beside


def load(file: Path | None) -> Configuration:
    """The configuration in `file`, else in vkube.cfg in the current directory, else the defaults.

    Raises ConfigurationError, which names the key and what it expects.
    """
    if file is None:
        file = Path(FILE)
        if not file.exists():
            return Configuration()
    try:
        content = file.read_bytes()[: _LONGEST_BYTES + 1]
    except OSError as error:
        raise ConfigurationError(f"{file}: {error.strerror}") from error
    if len(content) > _LONGEST_BYTES:
        raise ConfigurationError(f"{file}: has more than {_LONGEST_BYTES} bytes; is this a vkube.cfg?")
    try:
        return Configuration.model_validate(_parsed(file, content))
    except ValidationError as error:
        raise ConfigurationError("; ".join(f"{file}: {_explained(one)}" for one in error.errors())) from error


def schema() -> dict[str, Any]:
    """The JSON Schema of the file (draft 2020-12)."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": SCHEMA_ID,
        **Configuration.model_json_schema(),
        "title": "vkube.cfg",
    }


def _parsed(file: Path, content: bytes) -> object:
    try:
        text = content.decode()
        if text.lstrip().startswith("{"):
            try:
                return json.loads(text)
            except ValueError:
                # A YAML document may begin with a brace too; if it is neither, JSON's own message is better.
                return _yaml(text) if _is_yaml(text) else json.loads(text)
        return _yaml(text)
    except (ValueError, RecursionError) as error:
        raise ConfigurationError(f"{file}: neither JSON nor YAML: {' '.join(str(error).split())}") from error


def _is_yaml(text: str) -> bool:
    try:
        _yaml(text)
    except ValueError:
        return False
    return True


def _yaml(text: str) -> object:
    import yaml

    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error


def _explained(error: Any) -> str:
    where = ".".join(map(str, error["loc"]))
    message = str(error["msg"]).removeprefix("Value error, ")
    if error["type"] == "extra_forbidden":
        return f"{where}: unknown key; expected {', '.join(_keys(error['loc'][:-1]))}"
    if error["type"] in ("model_type", "dict_type"):
        return f"{where or 'the file'}: expected an object with keys"
    if not where:
        return message
    return (
        f"{where}: {message} (got {str(error['input'])[:100]!r})"
        if "got" not in message
        else f"{where}: {message}"
    )


def _keys(section: tuple[str, ...]) -> list[str]:
    models: dict[tuple[str, ...], type[_Section]] = {
        (): Configuration,
        ("clusterAgent",): ClusterAgentSection,
        ("podAgent",): PodAgentSection,
        ("webhook",): WebhookSection,
    }
    return [field.alias or name for name, field in models[section].model_fields.items()]
