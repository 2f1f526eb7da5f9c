"""Puts the archive on standard input (of back_up.py) in place of the cluster agent's keys and store.

The agent must not run (docs/operations.md, Back up and restore). What was there is kept beside it, as
`data.before`.
"""

import shutil
import sys
import tarfile
from pathlib import Path

DATA = Path("/var/lib/vanadium/data")
STORE = "cluster-agent.sqlite3"

restored, before = DATA.with_name("data.restored"), DATA.with_name("data.before")
shutil.rmtree(restored, ignore_errors=True)
restored.mkdir(mode=0o700)
with tarfile.open(fileobj=sys.stdin.buffer, mode="r|") as archive:
    archive.extractall(restored, filter="data")
for file in restored.iterdir():
    file.chmod(0o600)
# The store is the archive's last file: without it the archive was cut off, and what was there stays.
if not (restored / STORE).exists():
    sys.exit(f"the archive has no {STORE}: it was cut off, or is none of back_up.py")
if DATA.exists():
    shutil.rmtree(before, ignore_errors=True)
    DATA.rename(before)
restored.rename(DATA)
sys.stdout.write(f"restored: {' '.join(sorted(file.name for file in DATA.iterdir()))}\n")
