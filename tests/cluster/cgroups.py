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


def can_limit() -> bool:
    """Whether groups that are made here can limit CPU, memory and processes, as a kubelet needs it."""
    if _ROOT in hierarchies():
        return {"cpu", "memory", "pids"} <= set((_ROOT / "cgroup.subtree_control").read_text().split())
    return {"cpu", "memory", "pids"} <= {one.name for one in hierarchies()}


def memory_of(group: Path) -> dict[str, int]:
    """What counts against a group's memory limit, in bytes.

    The working set as the kubelet has it (without file pages that nobody used lately), what is not backed by
    files, and the most that it ever was.
    """
    fields = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
    if (group / "memory.current").exists():
        names = ("memory.current", "memory.peak", "inactive_file", "anon")
    else:
        names = ("memory.usage_in_bytes", "memory.max_usage_in_bytes", "total_inactive_file", "total_rss")
    usage, peak = (int((group / name).read_text()) for name in names[:2])
    return {
        "working set": usage - int(fields[names[2]]),
        "anonymous": int(fields[names[3]]),
        "peak": peak,
    }


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


def _remove(group: Path, seconds: float = 60) -> None:
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
