"""The machine that a node believes to be: namespaces of its own, joined to ours by one pair of links.

Everything in it ends with its first process, which the kernel kills when the process that made it is gone:
its processes, mounts, links, addresses and rules are nobody else's, and nothing is left after a crash but the
directory and empty control groups, which `clean` removes.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Self, TypeVar

from tests import owned_directory
from tests.cluster.cgroups import make_cgroups, remove_cgroups
from tests.cluster.network import Network
from tests.owned_directory import OwnedDirectory, for_overlays
from tests.processes import die_with_parent
from tests.waiting import wait_for

_T = TypeVar("_T")
_PREFIX = "vanadium-node-"
_NSENTER = ["nsenter", "--net", "--mount", "--pid", "--uts"]


# https://github.com/kubernetes/kubernetes/blob/v1.37.2/pkg/util/sysctl/sysctl.go
KERNEL_SETTINGS = (
    "kernel/keys/root_maxbytes",
    "kernel/keys/root_maxkeys",
    "kernel/panic",
    "kernel/panic_on_oops",
    "vm/overcommit_memory",
    "vm/panic_on_oom",
)
NO_PLACE = (
    "the temporary directory and /dev/shm lie on overlays, on which no other can lie: "
    "set TMPDIR to a directory of another file system"
)


class MachineError(Exception):
    """A step did not succeed; the message has the command and what it said."""


class Machine:
    """A machine within this one, as a context manager.

    Attributes:
        directory: its files, under the same path inside and out.
        cgroup: name of its control group, below the root of each hierarchy.
    """

    def __init__(self, network: Network, *, path: str) -> None:
        self._network = network
        self._path = path
        self._started: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        clean()
        link = self._network.link
        wait_for(f"the end of another node, which has {link}", lambda: not _link_exists(link))
        parent = for_overlays()
        if parent is None:
            raise MachineError(NO_PLACE)
        self._owned = OwnedDirectory(_PREFIX, parent)
        self.directory = self._owned.path
        self.cgroup = self.directory.name
        try:
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Kills every process in it, and removes what the kernel does not."""
        if hasattr(self, "_unshare"):
            self._unshare.kill()
            for process in (self._unshare, *self._started):
                process.wait()
        wait_for("the link is gone", lambda: not _link_exists(self._network.link))
        remove_cgroups(self.cgroup)
        self._owned.remove()

    def run(self, *argv: str | Path, check: bool = True) -> str:
        """Runs a command inside to its end, and answers what it printed. Raises MachineError."""
        return _run(*self._enter(), *argv, environment=self._environment(), check=check)

    def start(self, log: IO[bytes], *argv: str | Path) -> subprocess.Popen[bytes]:
        """Starts a program inside; what is returned is the program's parent, and ends with it."""
        process = subprocess.Popen(
            [*self._enter(), *argv],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=self._environment(),
        )
        self._started.append(process)
        # Until it is there, there is nothing that `end` could end.
        wait_for(f"{argv[0]} starts", lambda: _children(process.pid) or process.poll() is not None)
        return process

    @staticmethod
    def end(process: subprocess.Popen[bytes], how: signal.Signals, seconds: float = 20) -> None:
        """Sends `how` to the program that `start` started, and waits for its end."""
        _signal_children(process.pid, how)
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            _signal_children(process.pid, signal.SIGKILL)
            process.wait()

    def _enter(self) -> list[str]:
        return [*_NSENTER, f"--target={self._init}", "--"]

    def _environment(self) -> Mapping[str, str]:
        return {"PATH": self._path, "HOME": "/root"}

    def _start(self) -> None:
        make_cgroups(self.cgroup)
        self._unshare = subprocess.Popen(
            ["unshare", "--net", "--mount", "--pid", "--uts", "--propagation=private", "--kill-child",
             "--mount-proc", sys.executable, Path(__file__).with_name("init.py")],
            stdin=subprocess.DEVNULL,
            preexec_fn=die_with_parent,
        )  # fmt: skip
        (self._init,) = wait_for("the first process", lambda: _children(self._unshare.pid))
        # Its namespaces are made once its /proc is the new one.
        wait_for("the first process has its namespaces", lambda: _is_python(self._init))
        for step in _mounts(self.directory):
            self.run(*step)
        for step in self._network.host_steps(self._init):
            _run(*step, environment=self._environment())
        for step in self._network.node_steps():
            self.run(*step)


def clean() -> None:
    """Removes what a crashed machine left: its directory and its control groups."""
    owned_directory.clean(_PREFIX, before=lambda directory: remove_cgroups(directory.name))


def _mounts(directory: Path) -> list[Sequence[str]]:
    """What its programs write to the system's directories and settings goes to files that end with it."""
    steps: list[Sequence[str]] = [
        # Mounts below are its own already; the kubelet wants those that it makes to reach its containers.
        ("mount", "--make-rshared", "/"),
        ("mount", "-t", "tmpfs", "tmpfs", "/run"),
    ]
    for tree in ("etc", "opt", "var"):
        upper, work = directory / tree, directory / f".{tree}"
        upper.mkdir()
        work.mkdir()
        options = f"lowerdir=/{tree},upperdir={upper},workdir={work}"
        steps.append(("mount", "-t", "overlay", "overlay", "-o", options, f"/{tree}"))
    # An overlay's upper layer cannot lie on an overlay: containerd's files are a plain directory.
    (directory / "containerd").mkdir()
    steps.append(("mkdir", "-p", "/var/lib/containerd"))
    steps.append(("mount", "--bind", str(directory / "containerd"), "/var/lib/containerd"))
    # A kubelet sets these for the whole kernel, which is not the node's.
    for setting in KERNEL_SETTINGS:
        copy = directory / setting.replace("/", "-")
        copy.write_text(Path("/proc/sys", setting).read_text())
        steps.append(("mount", "--bind", str(copy), f"/proc/sys/{setting}"))
    return steps


def _run(*argv: str | Path, environment: Mapping[str, str], check: bool = True) -> str:
    done = subprocess.run(
        argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, env=environment
    )
    if check and done.returncode != 0:
        raise MachineError(f"{' '.join(map(str, argv))}: exit {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def _children(process: int) -> list[int]:
    """The programs that it started; none once it has ended."""
    try:
        return [int(one) for one in Path(f"/proc/{process}/task/{process}/children").read_text().split()]
    except FileNotFoundError:
        return []


def _signal_children(process: int, how: signal.Signals) -> None:
    for child in _children(process):
        with suppress(ProcessLookupError):  # it has ended since
            os.kill(child, how)


def _is_python(process: int) -> bool:
    return b"init.py" in Path(f"/proc/{process}/cmdline").read_bytes()


def _link_exists(name: str) -> bool:
    return Path(f"/sys/class/net/{name}").exists()
