"""The witness: the audit's last heads, in a file outside of the store. A store from a backup lacks them.

Every act is in the audit, so a store that lacks a head that was noted has forgotten acts: what was revoked
since would be in force again, in silence. An operator who goes on with it makes another file, `accepted`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import structlog

from blessings import Principal, fingerprint
from cluster_agent.audit import Record, notes
from cluster_agent.audit.notes import InvalidNote, Note
from cluster_agent.errors import DataDirectoryError, StoreError
from cluster_agent.signing.key_files import delete_durably, replace_durably
from cluster_agent.store import Store

# The last one is enough; some more, for a chain whose records were removed since.
_KEPT = 32
_log = structlog.get_logger("cluster_agent")


@dataclass
class Witness:
    """The file at `path`, whose lines are signed with `issuing`, in the form of those in the log."""

    path: Path
    issuing: Principal
    now: Callable[[], datetime]
    _lines: list[str] = field(default_factory=list)

    @property
    def accepted(self) -> Path:
        """The file that lets an agent start with an older store, once."""
        return self.path.with_suffix(".accepted")

    async def check(self, store: Store) -> None:
        """Compares the store with the file. Raises StoreError when it is older, unless that was accepted;
        DataDirectoryError for a file that cannot be read; may raise Unavailable."""
        known = self._read()
        lacking = await store.lacking([note.head for note in known])
        if not self.accepted.exists():
            if lacking:
                raise StoreError(self._refusal(next(one for one in known if one.head == lacking[0])))
            self._lines = [self._line(one.line(self.issuing)) for one in known]
            return
        details = {"lacks": len(lacking)}
        event = "the store is from a backup; what was revoked later is in force again, unless it was kept"
        _log.error(event, **details)
        await store.audit(Record("restored-store-accepted", self.now(), details=details))
        replace_durably(self.path, "")
        delete_durably(self.accepted)

    def note(self, lines: Iterable[Mapping[str, Any]]) -> None:
        """Adds lines, durably. Raises DataDirectoryError."""
        self._lines = [*self._lines, *map(self._line, lines)][-_KEPT:]
        replace_durably(self.path, "".join(self._lines))

    def _read(self) -> list[Note]:
        try:
            lines = self.path.read_text().splitlines() if self.path.exists() else []
        except (OSError, UnicodeDecodeError) as error:
            raise DataDirectoryError(f"cannot read {self.path}: {error}") from error
        found = []
        for line in lines:
            try:
                found.append(Note.of_line(json.loads(line), {fingerprint(self.issuing.public_key)}))
            except (InvalidNote, ValueError) as error:
                # Of an agent with other keys, which was here before.
                _log.warning("line of the witness left out", path=str(self.path), error=str(error)[:300])
        return found

    def _refusal(self, note: Note) -> str:
        since = datetime.fromtimestamp(note.since, UTC).isoformat()
        return (
            f"the store is from a backup: {self.path} knows of acts from {since} on that it lacks (chain "
            f"{note.head.chain}, record {note.head.number}). What was revoked, forgotten or unregistered "
            "since would be in force again. To go on and repeat these acts, make an empty file "
            f"{self.accepted} (docs/operations.md, Back up and restore)"
        )

    def _line(self, line: Mapping[str, Any]) -> str:
        return json.dumps({"event": notes.EVENT, **line}) + "\n"


def witness_at(path: Path | None, issuing: Principal, now: Callable[[], datetime]) -> Witness | None:
    """The witness at `path`; None where there can be none, which is logged."""
    if path is None:
        return None
    if not os.access(path.parent, os.W_OK):
        event = "no witness of the store: one from a backup is not noticed"
        _log.warning(event, reason=f"{path.parent} cannot be written to")
        return None
    return Witness(path, issuing, now)
