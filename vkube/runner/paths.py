"""The directories on this machine behind a container's mount paths.

Processes share one file system, so `/run/vanadium` of one Pod cannot also be that of another. Each mount is a
directory of its own, and the mount paths in variables, commands and arguments are replaced by it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

# What may precede a path within a longer text: unix:///run/x, --file=/run/x, a:/run/x:b
_BEFORE = r"(?:(?<=://)|(?<![\w./-]))"
_AFTER = r"(?=/|$|[^\w./-])"


def rewrite(text: str, mounts: Mapping[str, Path]) -> str:
    """`text` with every mount path in it, whole components only, replaced by its directory.

    The longest mount path wins, and a replacement is not searched again.
    """
    if not mounts:
        return text
    longest_first = sorted((path.rstrip("/") for path in mounts), key=len, reverse=True)
    alternatives = "|".join(re.escape(path) for path in longest_first if path)
    directories = {path.rstrip("/"): str(directory) for path, directory in mounts.items()}
    return re.sub(f"{_BEFORE}(?:{alternatives}){_AFTER}", lambda found: directories[found[0]], text)
