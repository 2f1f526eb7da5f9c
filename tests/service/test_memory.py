"""What large messages leave behind, in a process of its own."""

from __future__ import annotations

import subprocess
import sys

import pytest

# Behind every message is something smaller that stays, such as the buffers of a connection.
SCRIPT = """
import os, sys
from service.memory import give_large_blocks_back

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGESIZE")

if sys.argv[1] == "given-back":
    give_large_blocks_back()
bytearray(b"x" * 30_000_000)
before = resident()
messages, kept = [], []
for _ in range(40):
    messages.append(bytearray(b"x" * 2_900_000))
    kept.append(bytearray(b"y" * 100_000))
del messages
print(resident() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator")
def test_the_memory_of_large_messages_goes_back_to_the_system() -> None:
    left = {way: int(_run(way)) for way in ("given-back", "as-it-was")}
    assert left["given-back"] < 10_000_000
    assert left["given-back"] < left["as-it-was"] / 2


def _run(way: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", SCRIPT, way], check=True, capture_output=True, text=True
    ).stdout
