"""What a normal tenant notices, what a hostile one does, and what the programs need for it."""

from __future__ import annotations

import math
import multiprocessing
import os
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from webhook.resources import Resources

Call = Callable[[int], None]
"""One call of the normal tenant, by its number. It fails by raising."""

_RESET_PEAK = "5"
# What the attempts need is made before they begin.
_FORK = multiprocessing.get_context("fork")


@dataclass
class Series:
    """The calls of a tenant."""

    seconds: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    @property
    def p99(self) -> float:
        """Of the calls that succeeded; infinite when none did."""
        ordered = sorted(self.seconds)
        return ordered[math.ceil(len(ordered) * 0.99) - 1] if ordered else math.inf


@dataclass
class Outcome:
    """The normal tenant's calls without and with the hostile one beside it, how often that one tried, and the
    programs' peaks of resident memory meanwhile, in MiB."""

    attack: str
    alone: Series
    beside: Series
    attempts: int
    peaks: Mapping[str, float]

    @property
    def problems(self) -> list[str]:
        """Why this is a failure; empty when it is none."""
        found = (
            [f"{len(self.beside.failures)} calls failed: {self.beside.failures[0]}"]
            if self.beside.failures
            else []
        )
        if self.alone.failures:
            found.append(f"{len(self.alone.failures)} failed without it, too: {self.alone.failures[0]}")
        if not self.attempts:
            found.append("the hostile tenant did nothing")
        for program, peak in self.peaks.items():
            if peak > LIMITS[program]:
                found.append(f"{program} took {peak:.0f} MiB, its limit is {LIMITS[program]} MiB")
        return found


class Hostility:
    """What a hostile tenant does, in a process of its own, until the end. An attempt that fails is still an
    attempt."""

    def __init__(self) -> None:
        self.ended = _FORK.Event()
        self._attempts = _FORK.Value("q", 0)
        self._work: list[tuple[Callable[[], None], float]] = []

    @property
    def attempts(self) -> int:
        return int(self._attempts.value)

    def repeat(self, attempt: Callable[[], None], pause: float = 0.01) -> None:
        """Repeats `attempt` in a thread of its own, with a pause after each."""
        self._work.append((attempt, pause))

    @contextmanager
    def going_on(self) -> Iterator[None]:
        process = _FORK.Process(target=self._run, daemon=True)
        process.start()
        try:
            yield
        finally:
            self.ended.set()
            process.join(30)
            process.kill()
            process.join()

    def _run(self) -> None:
        threads = [threading.Thread(target=self._repeat, args=one, daemon=True) for one in self._work]
        for one in threads:
            one.start()
        for one in threads:
            one.join()

    def _repeat(self, attempt: Callable[[], None], pause: float) -> None:
        while not self.ended.is_set():
            with self._attempts:
                self._attempts.value += 1
            with suppress(Exception):  # being refused is what an attacker expects
                attempt()
            self.ended.wait(pause)


def compare(
    attack: str, call: Call, hostility: Hostility, seconds: float, *, begun: float = 2.0, pause: float = 0.1
) -> Outcome:
    """The normal tenant's calls for so many seconds, without and with the hostile one, which has `begun`
    seconds before they are counted."""
    call(-1)
    alone = _series(call, seconds, pause, 0)
    pids = programs()
    for pid in pids.values():
        Path(f"/proc/{pid}/clear_refs").write_text(_RESET_PEAK)
    with hostility.going_on():
        time.sleep(begun)
        beside = _series(call, seconds, pause, 1_000_000)
        peaks = {program: _peak(pid) for program, pid in pids.items()}
    return Outcome(attack, alone, beside, hostility.attempts, peaks)


def _series(call: Call, seconds: float, pause: float, first: int) -> Series:
    made, until, number = Series(), time.monotonic() + seconds, first
    while time.monotonic() < until or not (made.seconds or made.failures):
        began = time.monotonic()
        try:
            call(number)
        except Exception as error:  # noqa: BLE001 - whatever the tenant meets is a failure
            made.failures.append(f"{type(error).__name__}: {error}"[:300])
        else:
            made.seconds.append(time.monotonic() - began)
        number += 1
        time.sleep(pause)
    return made


def programs() -> dict[str, int]:
    """The process of each of our programs that this one has started."""
    found = {}
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((directory / "stat").read_text().rsplit(")", 1)[1].split()[1])
            command = (directory / "cmdline").read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        if parent == os.getpid() and "-m" in command:
            module = command[command.index("-m") + 1]
            if module in LIMITS:
                found[module] = int(directory.name)
    return found


def _peak(pid: int) -> float:
    """In MiB."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def _limit(manifest: str) -> int:
    for document in yaml.safe_load_all(Path(manifest).read_text()):
        if document["kind"] == "Deployment":
            (container,) = document["spec"]["template"]["spec"]["containers"]
            return _mebibytes(container["resources"]["limits"]["memory"])
    raise LookupError(f"{manifest} has no Deployment")


def _mebibytes(quantity: str) -> int:
    found = re.fullmatch(r"(\d+)Mi", quantity)
    if found is None:
        raise ValueError(quantity)
    return int(found[1])


LIMITS: Mapping[str, int] = {
    "cluster_agent": _limit("deploy/base/cluster-agent.yaml"),
    "webhook": _limit("deploy/base/webhook.yaml"),
    "pod_agent": _mebibytes(Resources().memory_limit),
}


def table(outcomes: Sequence[Outcome]) -> str:
    """A row for each attack."""
    head = (
        f"{'attack':<34}{'attempts':>9}{'calls':>7}{'p99 alone':>11}{'p99 beside':>12}{'failed':>8}  "
        "peak memory of limit, MiB"
    )
    rows = [head]
    for one in outcomes:
        memory = ", ".join(f"{name} {peak:.0f} of {LIMITS[name]}" for name, peak in one.peaks.items())
        calls, failed = len(one.beside.seconds) + len(one.beside.failures), len(one.beside.failures)
        rows.append(
            f"{one.attack:<34}{one.attempts:>9}{calls:>7}{one.alone.p99 * 1000:>8.0f} ms"
            f"{one.beside.p99 * 1000:>9.0f} ms{failed:>8}  {memory}"
        )
    return "\n".join(rows)
