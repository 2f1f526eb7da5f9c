"""The pod agent's settings, from flags (`--health-port 8194`) and environment
(`VANADIUM_POD_AGENT_HEALTH_PORT`); a flag wins. docs/settings.md lists them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

from service.addresses import https_address
from service.errors import SettingsError
from service.listening import EVERYWHERE
from service.settings import unknown, whole, wrong

if TYPE_CHECKING:
    from pod_agent.files import FilePlace

PREFIX = "VANADIUM_POD_AGENT_"
# Nobody may write them, and their owner, the pod agent, may always read them.
_MODES = ("0400", "0440", "0444")
_GREATEST_GROUP = 2**31 - 1
_LOG_LEVELS = ("debug", "info", "warning", "error")


@dataclass(frozen=True)
class Settings:
    """The settings of the program. The defaults are those of an injected Pod."""

    cluster_agent_url: str = "https://cluster-agent.vanadium-system.svc:8193"
    cluster_agent_server_name: str = "cluster-agent.vanadium-system.svc"
    credential_file: Path = Path("/var/run/secrets/vanadium.io/bootstrap/credential.json")
    token_file: Path = Path("/var/run/secrets/vanadium.io/token/token")
    socket_directory: Path = Path("/run/vanadium")
    health_host: str = EVERYWHERE  # of IPv4 or IPv6
    health_port: int | None = None
    ttl_seconds: int | None = None
    files_directory: Path | None = None
    files_mode: int = 0o440
    files_group: int | None = None
    log_level: str = "info"

    @property
    def files(self) -> FilePlace | None:
        """Where the identity is to be written as files; None when it is not."""
        if self.files_directory is None:
            return None
        from pod_agent.files import FilePlace  # few Pods have files, and each would pay for it

        return FilePlace(self.files_directory, self.files_mode, self.files_group)


def read_settings(arguments: Sequence[str], environment: Mapping[str, str]) -> Settings:
    """The settings of this process. Raises SettingsError, which names the wrong one and what it expects."""
    defaults = Settings()
    given = _flags(arguments)

    def text(name: str, default: str) -> str:
        flag = given.get(name)
        return str(flag) if flag is not None else environment.get(PREFIX + name.upper(), default)

    ttl, directory, group = (text(name, "") for name in ("ttl_seconds", "files_directory", "files_group"))
    port = text("health_port", "")
    return Settings(
        cluster_agent_url=_https(text("cluster_agent_url", defaults.cluster_agent_url)),
        cluster_agent_server_name=text("cluster_agent_server_name", defaults.cluster_agent_server_name),
        credential_file=Path(text("credential_file", str(defaults.credential_file))),
        token_file=Path(text("token_file", str(defaults.token_file))),
        socket_directory=Path(text("socket_directory", str(defaults.socket_directory))),
        health_host=text("health_host", defaults.health_host),
        health_port=_whole("health_port", port, 0, 65535) if port else None,
        ttl_seconds=_whole("ttl_seconds", ttl, 1, 86400) if ttl else None,
        files_directory=Path(directory) if directory else None,
        files_mode=_mode("files_mode", text("files_mode", f"{defaults.files_mode:04o}")),
        files_group=_whole("files_group", group, 0, _GREATEST_GROUP) if group else None,
        log_level=_one_of("log_level", text("log_level", defaults.log_level), _LOG_LEVELS),
    )


def ignored(environment: Mapping[str, str]) -> str:
    """The messages about variables that are no settings of this version; empty if there is none.

    They stop no pod agent: the webhook writes them, and may be of a newer version than an image that a Pod
    asked for.
    """
    return unknown(PREFIX, [one.name for one in fields(Settings)], environment)


def _flags(arguments: Sequence[str]) -> Mapping[str, str | None]:
    if not arguments:  # as in every injected Pod, which so does without a parser of flags
        return {}
    from pod_agent.flags import parse

    return parse(arguments, PREFIX)


def _https(value: str) -> str:
    try:
        return https_address(value)
    except ValueError as error:
        raise SettingsError(wrong(PREFIX, "cluster_agent_url", str(error), value)) from error


def _whole(name: str, value: str, least: int, most: int) -> int:
    try:
        return whole(value, least, most)
    except ValueError as error:
        raise SettingsError(wrong(PREFIX, name, str(error), value)) from error


def _mode(name: str, value: str) -> int:
    return int(_one_of(name, value, _MODES), 8)


def _one_of(name: str, value: str, allowed: Sequence[str]) -> str:
    if value not in allowed:
        raise SettingsError(wrong(PREFIX, name, f"expected one of {', '.join(allowed)}", value))
    return value
