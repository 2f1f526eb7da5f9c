"""Writes the cluster agent's keys and store to standard output, as a tar archive, while the agent runs.

It runs in the agent's container (docs/operations.md, Back up and restore). The store is copied before the
keys, so that every root that the copy knows has its key beside it.
"""

import sqlite3
import sys
import tarfile
from contextlib import closing
from pathlib import Path

DATA = Path("/var/lib/vanadium/data")
STORE = "cluster-agent.sqlite3"

copy = DATA / "backup.sqlite3"
copy.unlink(missing_ok=True)
try:
    # Not a copy of the file: it would lack what is in the write-ahead log, and could be torn.
    with closing(sqlite3.connect(f"file:{DATA / STORE}?mode=rw", uri=True, timeout=30)) as store:
        store.execute("VACUUM INTO ?", (str(copy),))
    with tarfile.open(fileobj=sys.stdout.buffer, mode="w|") as archive:
        for key in sorted(DATA.glob("*.pem")):
            archive.add(key, key.name)
        # The store comes last: an archive that was cut off has none, and restore.py refuses it.
        archive.add(copy, STORE)
finally:
    copy.unlink(missing_ok=True)
