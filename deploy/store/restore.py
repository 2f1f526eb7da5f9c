"""Replaces the cluster agent's keys and store by the archive on standard input, made by back_up.py.

The agent must not run (docs/operations.md, Back up and restore). The previous files are kept beside the new
ones, as `data.before`. When a crash falls between the two renames, there is no `data`: restore again, or
rename `data.before` back, before the agent starts.
"""

import atexit
import os
import shutil
import sys
import tarfile
from pathlib import Path

DATA = Path("/var/lib/vanadium/data")
STORE = "cluster-agent.sqlite3"


def sync(directory: Path) -> None:
    """Makes the names in a directory durable."""
    opened = os.open(directory, os.O_RDONLY)
    os.fsync(opened)
    os.close(opened)


restored, before = DATA.with_name("data.restored"), DATA.with_name("data.before")
# What was refused or interrupted contains keys, and must not stay.
atexit.register(shutil.rmtree, restored, ignore_errors=True)
shutil.rmtree(restored, ignore_errors=True)
restored.mkdir(mode=0o700)
with tarfile.open(fileobj=sys.stdin.buffer, mode="r|") as archive:
    for member in archive:
        # By the file's last name only, so that no archive writes outside of this directory.
        if content := archive.extractfile(member):
            file = restored / Path(member.name).name
            with file.open("xb") as copy:
                shutil.copyfileobj(content, copy)
                copy.flush()
                os.fsync(copy.fileno())
            file.chmod(0o600)
# The store is the archive's last file: an archive without it was cut off, and the current files stay.
if not (restored / STORE).exists():
    sys.exit(f"the archive has no {STORE}: it was cut off, or back_up.py did not make it")
# Beside a store without its keys, the agent would make others.
if not any(restored.glob("*.pem")):
    sys.exit(
        "the archive has no key (*.pem): back_up.py did not make it, or there was no key beside the store"
    )
sync(restored)
if DATA.exists():
    shutil.rmtree(before, ignore_errors=True)
    DATA.rename(before)
restored.rename(DATA)
# The agent refuses a store that is older than its witness, unless this is there.
DATA.with_name("data.accepted").touch()
sync(DATA.parent)
sys.stderr.write("what was revoked, forgotten or unregistered later is in force again: repeat these acts\n")
sys.stdout.write(f"restored: {' '.join(sorted(file.name for file in DATA.iterdir()))}\n")
