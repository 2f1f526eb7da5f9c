"""Messages about wrong settings: `--health-port (VANADIUM_POD_AGENT_HEALTH_PORT): expected …`."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

_LONGEST_VALUE = 100


def flag(prefix: str, field: str) -> str:
    """The setting's flag, with its variable; `prefix` is the program's."""
    return f"--{field.replace('_', '-')} ({prefix}{field.upper()})"


def wrong(prefix: str, field: str, expected: str, value: object = None) -> str:
    """The message about one wrong setting. `value` is what was given; None leaves it out."""
    got = "" if value is None else f" (got {str(value)[:_LONGEST_VALUE]!r})"
    return f"{flag(prefix, field)}: {expected}{got}"


def explained(prefix: str, errors: Iterable[Mapping[str, Any]], *, secret: Collection[str] = ()) -> str:
    """The messages for pydantic's `ValidationError.errors()`. The values of `secret` fields are left out."""
    return "; ".join(_explained(prefix, error, secret) for error in errors)


def _explained(prefix: str, error: Mapping[str, Any], secret: Collection[str]) -> str:
    message = error["msg"].removeprefix("Value error, ")
    if not error["loc"]:
        return str(message)
    field = str(error["loc"][0])
    shown = error["type"] != "missing" and field not in secret
    return wrong(prefix, field, message, error["input"] if shown else None)
