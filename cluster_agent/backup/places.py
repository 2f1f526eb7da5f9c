"""Where a cluster agent's keys and store are, by the environment of its container."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from cluster_agent.flags import PREFIX
from cluster_agent.store.database import SQLITE

_DATA = "/var/lib/vanadium"


@dataclass(frozen=True)
class Places:
    """`data` is the directory of an agent on SQLite; None beside PostgreSQL. `witness` has the audit's last
    heads, where there is one."""

    data: Path | None
    keys: Path | None
    store_url: str
    witness: Path | None

    @classmethod
    def of_environment(cls) -> Places:
        """The places that the agent's own variables name."""
        given = {name.removeprefix(PREFIX): value for name, value in os.environ.items()}
        keys = Path(given["KEYS_DIRECTORY"]) if given.get("KEYS_DIRECTORY") else None
        witness = Path(given["WITNESS_FILE"]) if given.get("WITNESS_FILE") else None
        if url := given.get("DATABASE_URL"):
            return cls(None, keys, url, witness)
        data = Path(given.get("DATA_DIRECTORY") or _DATA)
        witness = witness or data.with_name(f"{data.name}.witness")
        return cls(data, keys or data, f"sqlite:///{data / SQLITE}", witness)
