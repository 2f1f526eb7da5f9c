"""The version of the product, and the flag `--version` that every program has."""

from __future__ import annotations

import sys
from collections.abc import Sequence

VERSION = "0.2.0"
"""The packaging's. It is repeated here because the images contain our modules without a package's metadata;
a test compares the two."""


def print_version_if_asked(program: str, arguments: Sequence[str]) -> None:
    """Prints `program VERSION` and ends the process with 0, when `--version` is the first argument."""
    if list(arguments[:1]) == ["--version"]:
        sys.stdout.write(f"{program} {VERSION}\n")
        sys.exit(0)
