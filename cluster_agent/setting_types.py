"""The types of settings: how a text becomes a value, and what is wrong with it otherwise."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr
from pydantic_settings import NoDecode

from blessings import InvalidName, InvalidPattern, Name, Pattern
from cluster_agent.signing.room import BOOTSTRAP_ROOT
from cluster_agent.store.database import database_url
from service.errors import SettingsError

CONTROL_PLANE_ROOT = Name.parse("vanadium-control-plane")


def _split(value: object) -> object:
    if value == "":
        return ()
    return tuple(part.strip() for part in value.split(",")) if isinstance(value, str) else value


def _is_pattern(value: str) -> str:
    try:
        return str(Pattern.parse(value))
    except InvalidPattern as error:
        raise ValueError(str(error)) from error


Patterns = Annotated[
    tuple[Annotated[str, AfterValidator(_is_pattern)], ...], NoDecode, BeforeValidator(_split)
]


def _is_a_prefix(value: str) -> str:
    try:
        root = Name.parse(value).components[0]
    except InvalidName as error:
        raise ValueError(str(error)) from error
    if root in (BOOTSTRAP_ROOT.components[0], CONTROL_PLANE_ROOT.components[0]):
        raise ValueError(f"the root {root!r} is taken by the control plane itself")
    return value


def _is_a_database(value: SecretStr) -> SecretStr:
    try:
        database_url(value.get_secret_value())
    except SettingsError as error:
        raise ValueError(str(error)) from error
    return value


def _is_a_file_or_https(value: str) -> str:
    if "://" in value and not value.startswith("https://"):
        raise ValueError("expected a file, or an address that begins with https://")
    return value


NamePrefix = Annotated[str, AfterValidator(_is_a_prefix)]
DatabaseUrl = Annotated[SecretStr, AfterValidator(_is_a_database)]
FileOrAddress = Annotated[str, AfterValidator(_is_a_file_or_https)]
PerSecond = Annotated[float, Field(gt=0, le=1_000_000)]
