"""A node's machine leaves nothing behind, even when the process that made it was killed."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.checkout import CHECKOUT
from tests.cluster.cgroups import hierarchies
from tests.cluster.machine import KERNEL_SETTINGS, Machine, MachineError, clean
from tests.cluster.network import Network
from tests.cluster.programs import cannot_run_here
from tests.waiting import wait_for

# Beside the node of the other tests, which may be running.
NETWORK = Network(
    link="vanadium9", host="10.214.0.1", node="10.214.0.2", pods="10.214.64.0/22", services="10.214.128.0/20"
)
PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
# A machine with a program and a mount of its own, until it is killed.
HOLD = f"""
import sys, time
from tests.cluster.cgroups import hierarchies
from tests.cluster.machine import Machine
from tests.cluster.network import Network
with Machine({NETWORK!r}, path={PATH!r}) as machine:
    machine.run("mount", "-t", "tmpfs", "vanadium-test", "/mnt")
    process = machine.start(sys.stderr.buffer, "sleep", "987654")
    for hierarchy in hierarchies():
        (hierarchy / machine.cgroup / "pod").mkdir()
    print(machine.directory, flush=True)
    time.sleep(600)
"""


pytestmark = pytest.mark.usefixtures("node_machine")


def running(program: str) -> bool:
    """Whether a program with this command line runs anywhere on this machine."""
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it may end while we look
            if (process / "cmdline").read_bytes().replace(b"\0", b" ").decode().strip() == program:
                return True
    return False


def test_after_a_kill_nothing_is_left_but_what_clean_removes() -> None:
    links = sorted(os.listdir("/sys/class/net"))
    with subprocess.Popen(
        [sys.executable, "-c", HOLD], stdout=subprocess.PIPE, text=True, cwd=CHECKOUT
    ) as holder:
        assert holder.stdout is not None
        directory = Path(holder.stdout.readline().strip())
        assert NETWORK.link in os.listdir("/sys/class/net")
        # nsenter, whose child becomes the program, may not have come so far.
        wait_for("the program", lambda: running("sleep 987654"))
        clean()
        assert directory.exists(), "clean must not touch a machine that runs"
        holder.send_signal(signal.SIGKILL)
    wait_for("no process", lambda: not running("sleep 987654"))
    wait_for("no link", lambda: sorted(os.listdir("/sys/class/net")) == links)
    assert "vanadium-test" not in Path("/proc/mounts").read_text()
    clean()
    assert not directory.exists()
    assert not [one for one in hierarchies() if (one / directory.name).exists()]


def test_a_machine_has_a_network_a_host_name_and_system_directories_of_its_own() -> None:
    with Machine(NETWORK, path=PATH) as machine:
        for tree in ("etc", "opt", "run", "var"):
            machine.run("touch", f"/{tree}/of-the-machine")
            assert not Path(f"/{tree}/of-the-machine").exists()
        assert machine.run("hostname").strip() == "node"
        assert NETWORK.node in machine.run("ip", "-4", "address")
        assert NETWORK.host in machine.run("ip", "route")
        processes = [one for one in machine.run("ls", "/proc").split() if one.isdecimal()]
        assert len(processes) < 5
    assert not Path(f"/sys/class/net/{NETWORK.link}").exists()


def test_what_a_kubelet_sets_for_the_kernel_stays_within_the_machine() -> None:
    before = {setting: Path("/proc/sys", setting).read_text() for setting in KERNEL_SETTINGS}
    with Machine(NETWORK, path=PATH) as machine:
        for setting in KERNEL_SETTINGS:
            machine.run("sh", "-c", f"echo 7 > /proc/sys/{setting}")
            assert machine.run("cat", f"/proc/sys/{setting}") == "7\n"
        assert {setting: Path("/proc/sys", setting).read_text() for setting in KERNEL_SETTINGS} == before


def test_a_program_that_does_not_end_when_asked_is_killed() -> None:
    with Machine(NETWORK, path=PATH) as machine:
        stubborn = "trap '' TERM; while :; do sleep 0.1; done"
        with (machine.directory / "log").open("wb") as log:
            process = machine.start(log, "sh", "-c", stubborn)
        time.sleep(0.2)
        machine.end(process, signal.SIGTERM, seconds=0.5)
        assert process.poll() is not None


def test_a_failed_step_says_which_and_why() -> None:
    with Machine(NETWORK, path=PATH) as machine, pytest.raises(MachineError, match="ls /none: exit 2\nls: "):
        machine.run("ls", "/none")


# Of a pure function, so these run anywhere.


def test_what_is_missing_is_named_with_the_packages_that_have_it(tmp_path: Path) -> None:
    (tmp_path / "runc").touch(0o755)
    (complaint,) = cannot_run_here({"PATH": str(tmp_path)}, user=0, system_path="/nowhere")
    missing = "conntrack, ip, iptables, mount, nft, nsenter, unshare"
    assert complaint.startswith(f"missing {missing} (apt-get install ")
    assert "runc" not in complaint
    assert cannot_run_here({"PATH": PATH}, system="darwin") == ["a node needs Linux, this is darwin"]
    assert "needs root" in cannot_run_here({"PATH": PATH}, user=1000)[0]
