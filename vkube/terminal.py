"""Passphrases from the terminal, and from no pipe: what a script pipes in is meant for the command."""

from __future__ import annotations

import getpass
import os

from vkube.errors import CredentialsError, UsageError

_TERMINAL = "/dev/tty"


def passphrase(prompt: str, otherwise: str) -> bytes:
    """What the user types, unseen. `otherwise` completes the message when there is no terminal.

    Raises UsageError, and CredentialsError when the user typed nothing.
    """
    _require(otherwise)
    return _typed(prompt)


def new_passphrase(prompt: str, otherwise: str) -> bytes:
    """As `passphrase`, typed twice, because a mistake in it costs the key."""
    _require(otherwise)
    first = _typed(prompt)
    if _typed("Again: ") != first:
        raise CredentialsError("the two passphrases differ; nothing was made")
    return first


def _require(otherwise: str) -> None:
    # getpass would read standard input instead.
    try:
        os.close(os.open(_TERMINAL, os.O_RDWR | os.O_NOCTTY))
    except OSError as error:
        raise UsageError(f"there is no terminal to ask for a passphrase: {otherwise}") from error


def _typed(prompt: str) -> bytes:
    try:
        typed = getpass.getpass(prompt)
    except EOFError as error:
        raise CredentialsError("no passphrase was typed") from error
    if not typed:
        raise CredentialsError("an empty passphrase seals nothing")
    return typed.encode()
