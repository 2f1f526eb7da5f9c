"""The control groups of a node: one below the root of each hierarchy, removed from the leaves up."""

from __future__ import annotations

import os
import time
from pathlib import Path

_ROOT = Path("/sys/fs/cgroup")


def hierarchies() -> list[Path]:
    """The hierarchies of this machine: one for cgroup v2, one for each controller of v1."""
    if (_ROOT / "cgroup.controllers").exists():
        return [_ROOT]
    return sorted(one for one in _ROOT.iterdir() if (one / "cgroup.procs").exists() and not one.is_symlink())


def make_cgroups(name: str) -> None:
    """Makes the group in each hierarchy, ready to have groups below it."""
    for hierarchy in hierarchies():
        group = hierarchy / name
        group.mkdir()
        if hierarchy == _ROOT:
            controllers = (group / "cgroup.controllers").read_text().split()
            (group / "cgroup.subtree_control").write_text(" ".join(f"+{one}" for one in controllers))
        for setting in ("cpuset.cpus", "cpuset.mems"):  # a v1 group has none, and so takes no process
            if hierarchy.name == "cpuset":
                (group / setting).write_text((hierarchy / setting).read_text())


def remove_cgroups(name: str) -> None:
    """Removes the groups, whose processes have been killed; the kernel may need a moment."""
    for hierarchy in hierarchies():
        for directory, _, _ in os.walk(hierarchy / name, topdown=False):
            _remove(Path(directory))


def _remove(group: Path, seconds: float = 5) -> None:
    deadline = time.monotonic() + seconds
    while True:
        try:
            group.rmdir()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return
