"""A real PostgreSQL server for tests, on a Unix socket in a directory of its own.

The programs are Debian's (`apt-get install postgresql`), or those in VANADIUM_POSTGRESQL_BIN or on PATH. The
server refuses to run as root; as root it is started as the user `postgres`.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine, make_url

from tests import owned_directory
from tests.owned_directory import OwnedDirectory
from tests.processes import die_with_parent
from tests.waiting import PATIENCE_SECONDS, until, wait_for

_SUPERUSER = "vanadium"
_PREFIX = "vanadium-postgresql-"


class PostgresqlUnavailableError(Exception):
    """There is no PostgreSQL here to start."""


@dataclass
class Postgresql:
    """A running server."""

    directory: Path
    process: subprocess.Popen[bytes]
    _numbers: Iterator[int]

    def new_database(self, template: str | None = None) -> str:
        """The URL of a new database: empty, or a copy of the one at the URL `template`, which nobody uses."""
        name = f"test_{next(self._numbers)}"
        copied = f" TEMPLATE {database_name(template)}" if template else ""
        self.execute(f"CREATE DATABASE {name}{copied}")
        return self._url(name)

    def execute(self, statement: str, database: str = "postgres") -> list[Any]:
        """Runs a statement of the superuser, by default on the server's own database."""
        engine = create_engine(
            make_url(self._url(database)).set(drivername="postgresql+psycopg"), isolation_level="AUTOCOMMIT"
        )
        with engine.connect() as connection:
            result = connection.exec_driver_sql(statement)
            rows = list(result) if result.returns_rows else []
        engine.dispose()
        return rows

    def end_connections(self, database: str) -> None:
        """As a failover or a restart would."""
        backends = f"FROM pg_stat_activity WHERE datname = '{database}'"
        self.execute("SELECT pg_terminate_backend(pid) " + backends)

    async def something_waits_for_a_lock(self, url: str) -> None:
        """Returns when a session of that database waits for another's lock."""
        waiting = (
            "SELECT count(*) FROM pg_stat_activity "
            "WHERE wait_event_type = 'Lock' AND datname = current_database()"
        )
        await until("a lock", lambda: self.execute(waiting, database_name(url))[0][0])

    def _url(self, database: str) -> str:
        return f"postgresql://{_SUPERUSER}@/{database}?host={self.directory}"


def database_name(url: str) -> str:
    """Of a URL that `new_database` made."""
    return str(make_url(url).database)


@contextmanager
def running_postgresql(*, survives_power_cut: bool = False) -> Iterator[Postgresql]:
    """Starts a server. What its clients were answered survives their kill in any case; measurements ask that
    it survives a power cut, too. Raises PostgresqlUnavailableError, which names what is missing."""
    programs = postgresql_programs()
    owned_directory.clean(_PREFIX)
    # Not below pytest's directory: others than its user can't go there, and socket paths must be short.
    owned = OwnedDirectory(_PREFIX, Path("/tmp"))
    directory = owned.path
    user = _unprivileged_user()
    if user is not None:
        shutil.chown(directory, user)
    data = directory / "data"
    try:
        subprocess.run(
            [programs / "initdb", "--pgdata", data, "--username", _SUPERUSER, "--auth", "trust", "--no-sync",
             "--encoding", "UTF8", "--locale", "C"],
            check=True, capture_output=True, user=user, cwd=directory,
        )  # fmt: skip
        with (directory / "log").open("wb") as log:
            process = subprocess.Popen(
                [programs / "postgres", "-D", data, "-k", directory, "-c", "listen_addresses=",
                 "-c", "max_connections=200",
                 "-c", f"fsync={'on' if survives_power_cut else 'off'}"],
                stderr=log, user=user, cwd=directory, preexec_fn=die_with_parent,
            )  # fmt: skip
        server = Postgresql(directory, process, count())
        try:
            _wait_until_up(server)
            yield server
        finally:
            # "immediate": a last checkpoint of a hundred databases takes a minute, and they are removed now.
            process.send_signal(signal.SIGQUIT)
            process.wait(PATIENCE_SECONDS)
    finally:
        owned.remove()


def postgresql_programs() -> Path:
    named = os.environ.get("VANADIUM_POSTGRESQL_BIN")
    on_path = shutil.which("postgres")
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda one: int(one.parts[4]))
    for found in (Path(named) if named else None, Path(on_path).parent if on_path else None):
        if found is not None:
            return found
    if not debian:
        raise PostgresqlUnavailableError(
            "PostgreSQL's programs are not here: apt-get install postgresql, or set VANADIUM_POSTGRESQL_BIN"
        )
    return debian[-1].parent


def _unprivileged_user() -> str | None:
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            pwd.getpwnam(name)
        except KeyError:
            continue
        return name
    raise PostgresqlUnavailableError(
        "PostgreSQL does not run as root, and there is no user postgres or nobody"
    )


def _wait_until_up(server: Postgresql) -> None:
    log = server.directory / "log"

    def is_up() -> bool:
        assert server.process.poll() is None, f"PostgreSQL ended:\n{log.read_text()}"
        # The socket is there before the server takes connections.
        file = server.directory / "data" / "postmaster.pid"
        status = file.read_text().splitlines() if file.exists() else []
        return len(status) > 7 and status[7].strip() == "ready"

    wait_for("PostgreSQL is up", is_up, story=log.read_text)
