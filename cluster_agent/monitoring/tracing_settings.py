"""The decision whether traces are wanted, by the standard variables, before OpenTelemetry is loaded.

The SDK reads the other variables itself. Its own code for these variables is private
(`opentelemetry.sdk._configuration`), would be loaded even where traces are not wanted (70 modules, 2.7 MiB),
and does not check the endpoint.

https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/
https://opentelemetry.io/docs/specs/otel/protocol/exporter/
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

from service.errors import SettingsError

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_EXPORTER = "OTEL_TRACES_EXPORTER"


def traces_are_wanted(environment: Mapping[str, str]) -> bool:
    """Whether an endpoint is set and nothing disables it. Raises SettingsError for an unsupported
    protocol."""
    named = _first(environment, _ENDPOINTS)
    if named is None or environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    exporter = environment.get(_EXPORTER, "") or "otlp"
    if exporter == "none":
        return False
    if exporter != "otlp":
        raise SettingsError(f"{_EXPORTER}: {exporter!r} is not supported; otlp or none")
    protocol = _first(environment, _PROTOCOLS)
    if protocol is not None and protocol[1] != "http/protobuf":
        raise SettingsError(f"{protocol[0]}: {protocol[1]!r} is not supported; http/protobuf")
    variable, endpoint = named
    if not _is_address(endpoint):
        # The message leaves out the value, which may contain a password.
        raise SettingsError(f"{variable}: not an http:// or https:// address, as http://collector:4318")
    return True


def _is_address(endpoint: str) -> bool:
    try:
        address = urlsplit(endpoint)
        return address.scheme in ("http", "https") and bool(address.hostname) and address.port != 0
    except ValueError:  # a port that is not a number, an unbalanced bracket
        return False


def _first(environment: Mapping[str, str], names: tuple[str, ...]) -> tuple[str, str] | None:
    """The first of the variables that is not empty, with its value; the standard treats empty as unset."""
    return next(((name, environment[name]) for name in names if environment.get(name)), None)
