"""Messages about wrong settings: `--health-port (VANADIUM_POD_AGENT_HEALTH_PORT): expected …`."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any

_LONGEST_VALUE = 100
_MOST_DIGITS = 20
# What Kubernetes sets in every container for a Service whose name begins like the program's prefix.
# https://kubernetes.io/docs/tutorials/services/connect-applications-service/#environment-variables
_OF_A_SERVICE = re.compile(
    r"(.+_)?(SERVICE_HOST|SERVICE_PORT(_.+)?|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)"
)
_ADDRESS_OF_A_SERVICE = re.compile(r"(tcp|udp|sctp)://")


def flag(prefix: str, field: str) -> str:
    """The setting's flag, with its variable; `prefix` is the program's."""
    return f"--{field.replace('_', '-')} ({prefix}{field.upper()})"


def wrong(prefix: str, field: str, expected: str, value: object = None) -> str:
    """The message about one wrong setting. `value` is what was given; None leaves it out."""
    got = "" if value is None else f" (got {str(value)[:_LONGEST_VALUE]!r})"
    return f"{flag(prefix, field)}: {expected}{got}"


def whole(text: str, least: int, most: int) -> int:
    """The whole number that a text states in decimal digits. Raises ValueError."""
    # int() itself refuses thousands of digits with another message, and takes digits of every script.
    if not (text.isascii() and text.isdecimal() and len(text) <= _MOST_DIGITS and least <= int(text) <= most):
        raise ValueError(f"expected a whole number from {least} to {most}")
    return int(text)


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


def unknown(prefix: str, fields: Collection[str], environment: Mapping[str, str]) -> str:
    """The messages about variables that begin with the program's prefix and name none of its settings; empty
    if there is none. Their values are left out."""
    known = [field.upper() for field in fields]
    found = []
    for variable, value in sorted(environment.items()):
        name = variable.upper().removeprefix(prefix)
        if name == variable.upper() or name in known or _is_of_a_service(name, value):
            continue
        import difflib  # only here: most programs never need it

        near = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
        hint = f"did you mean {prefix}{near[0]}?" if near else "--help lists them"
        found.append(f"{variable[:_LONGEST_VALUE]}: there is no such setting; {hint}")
    return "; ".join(found)


def _is_of_a_service(name: str, value: str) -> bool:
    if _OF_A_SERVICE.fullmatch(name):
        return True
    return f"_{name}".endswith("_PORT") and _ADDRESS_OF_A_SERVICE.match(value) is not None
