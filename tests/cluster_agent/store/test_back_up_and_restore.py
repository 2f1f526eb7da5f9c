"""The cluster agent's data is backed up while it runs, and restored, by the programs of the documents."""

from __future__ import annotations

import os
import re
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from blessings import Principal
from cluster_agent.verify_audit import main as verify_audit
from tests.checkout import CHECKOUT
from tests.cluster_agents import RunningClusterAgent, pod_token, running_cluster_agent
from tests.csrs import csr_of
from tests.postgresql import Postgresql, postgresql_programs

SEEK = "/v1/seek-blessings"


def run(program: str, data: Path, archive: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """A program of `deploy/store`, on `data` instead of the volume in the agent's container."""
    source = (CHECKOUT / "deploy" / "store" / program).read_text()
    assert "/var/lib/vanadium/data" in source
    code = source.replace("/var/lib/vanadium/data", str(data))
    return subprocess.run([sys.executable, "-I", "-c", code], input=archive, capture_output=True, check=False)


def seek(agent: RunningClusterAgent, secret: dict[str, Any], pod: str) -> int:
    body = {"csr": csr_of(Principal.create()), "token": pod_token(agent.tokens, pod)}
    with agent.credential_client(secret["credential"]) as client:
        return client.post(SEEK, json=body).status_code


def state(agent: RunningClusterAgent) -> tuple[Any, Any, Any]:
    """The identity roots, the secrets and the registered applications."""
    with agent.control_plane_client() as client:
        return (
            client.get("/v1/identity-roots").json()["roots"],
            client.get("/v1/secrets").json(),
            client.get("/v1/applications").json(),
        )


def test_what_was_there_at_the_backup_is_there_after_the_restore_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "first").mkdir()
    with running_cluster_agent(tmp_path / "first") as agent:
        secret = agent.new_secret()
        assert seek(agent, secret, "web-1") == 200
        with agent.control_plane_client() as client:
            body = {"namespace": "shop", "serviceAccount": "db", "name": "acme:prod:Database"}
            client.post("/v1/register-application", json=body).raise_for_status()
        before = state(agent)
        backup = run("back_up.py", agent.data_directory)
        assert backup.returncode == 0, backup.stderr
        later = agent.new_secret("shop", "other")
        assert seek(agent, secret, "web-2") == 200
    (tmp_path / "second").mkdir()
    data = tmp_path / "second" / "data"
    restored = run("restore.py", data, backup.stdout)
    assert restored.returncode == 0, restored.stderr
    names = b"bootstrap.pem cluster-agent.sqlite3 issuing.pem root.pem"
    assert restored.stdout.strip() == b"restored: " + names
    assert {path.stat().st_mode & 0o777 for path in (data, *data.iterdir())} == {0o700, 0o600}
    with running_cluster_agent(tmp_path / "second") as agent:
        assert "what was revoked later is in force again" in agent.log()
        assert state(agent) == before
        # The serving files are new; the credential of before is accepted all the same.
        assert seek(agent, secret, "web-1") == 200
        assert seek(agent, later, "web-3") == 403
    # The log from before the restore has acts after the backup, which are missing now.
    for log, code in (("first", 1), ("second", 0)):
        heads = str(tmp_path / log / "cluster-agent.log")
        arguments = ["verify", "--data-directory", str(data), "--heads", heads]
        monkeypatch.setattr(sys, "argv", ["cluster-agent-audit", *arguments])
        with pytest.raises(SystemExit) as ended:
            verify_audit()
        assert ended.value.code == code, log


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Keys and a store, as small as can be."""
    made = tmp_path / "data"
    made.mkdir()
    (made / "issuing.pem").write_text("a key")
    with closing(sqlite3.connect(made / "cluster-agent.sqlite3")) as store:
        store.execute("CREATE TABLE secrets (id TEXT)")
        store.execute("INSERT INTO secrets VALUES ('kept')")
        store.commit()
    return made


def test_half_an_archive_replaces_nothing(data: Path) -> None:
    archive = run("back_up.py", data).stdout
    kept = {path.name: path.read_bytes() for path in data.iterdir()}
    # Nothing, a header, half of the store, and an end between two files, which tar takes for a whole archive.
    for length in (0, 512, len(archive) // 2, archive.index(b"cluster-agent.sqlite3")):
        assert run("restore.py", data, archive[:length]).returncode != 0, length
        assert not data.with_name("data.restored").exists(), length
        assert {path.name: path.read_bytes() for path in data.iterdir()} == kept


def test_a_store_without_a_key_replaces_nothing(data: Path) -> None:
    """The agent would make other keys beside it."""
    (data / "issuing.pem").unlink()
    archive = run("back_up.py", data).stdout
    (data / "issuing.pem").write_text("a key")
    kept = {path.name: path.read_bytes() for path in data.iterdir()}
    refused = run("restore.py", data, archive)
    assert refused.returncode != 0
    assert b"has no key" in refused.stderr
    assert {path.name: path.read_bytes() for path in data.iterdir()} == kept


def test_a_restore_that_ended_between_its_renames_is_taken_back_as_documented(data: Path) -> None:
    document = (CHECKOUT / "docs" / "operations.md").read_text()
    (code,) = re.findall(r"'(import os; os\.rename.*)'", document)
    before = data.with_name("data.before")
    data.rename(before)
    kept = {path.name: path.read_bytes() for path in before.iterdir()}
    code = code.replace("/var/lib/vanadium/data", str(data))
    subprocess.run([sys.executable, "-I", "-c", code], check=True)
    assert {path.name: path.read_bytes() for path in data.iterdir()} == kept


NOTING = """import os
def noted(call, name):
    def noting(*given):
        where = os.readlink(f"/proc/self/fd/{given[0]}") if name == "synced" else given[0]
        print(name, where, file=sys.stderr)
        return call(*given)
    return noting
import sys
os.fsync, os.rename = noted(os.fsync, "synced"), noted(os.rename, "renamed")
"""


def test_what_was_restored_outlives_a_crash_of_the_node(data: Path) -> None:
    """Names are durable only when their directory is."""
    archive = run("back_up.py", data).stdout
    source = (CHECKOUT / "deploy" / "store" / "restore.py").read_text()
    code = NOTING + source.replace("/var/lib/vanadium/data", str(data))
    ended = subprocess.run([sys.executable, "-I", "-c", code], input=archive, capture_output=True, check=True)
    restored = data.with_name("data.restored")
    *steps, warning = ended.stderr.decode().splitlines()
    assert "is in force again" in warning
    assert steps == [
        f"synced {restored / 'issuing.pem'}",
        f"synced {restored / 'cluster-agent.sqlite3'}",
        f"synced {restored}",
        f"renamed {data}",
        f"renamed {restored}",
        f"synced {data.parent}",
    ]


def test_what_was_there_is_kept_beside_what_was_restored(data: Path) -> None:
    archive = run("back_up.py", data).stdout
    (data / "issuing.pem").write_text("another key")
    assert run("restore.py", data, archive).returncode == 0
    assert (data / "issuing.pem").read_text() == "a key"
    assert (data.with_name("data.before") / "issuing.pem").read_text() == "another key"
    assert sorted(path.name for path in data.parent.iterdir()) == [
        "data",
        "data.accepted",
        "data.before",
    ]


def test_a_backup_that_failed_leaves_nothing_on_the_volume(data: Path) -> None:
    (data / "cluster-agent.sqlite3").write_bytes(b"no database")
    assert run("back_up.py", data).returncode != 0
    assert sorted(path.name for path in data.iterdir()) == ["cluster-agent.sqlite3", "issuing.pem"]


def test_a_database_is_dumped_and_restored_by_the_documented_commands(
    tmp_path: Path, postgresql: Postgresql
) -> None:
    """But for the Secret, which is files here."""
    document = (CHECKOUT / "docs" / "operations.md").read_text()
    url = postgresql.new_database()
    environment = {
        **os.environ,
        "DATABASE_URL": url,
        "PATH": f"{postgresql_programs()}:{os.environ['PATH']}",
    }

    def paste(program: str) -> None:
        (command,) = re.findall(rf"^    ({program} .*)$", document, re.MULTILINE)
        subprocess.run(["bash", "-euc", command], cwd=tmp_path, env=environment, check=True)

    with running_cluster_agent(tmp_path, database_url=url) as agent:
        secret = agent.new_secret()
        before = state(agent)
        paste("pg_dump")
        later = agent.new_secret("shop", "other")
    paste("pg_restore")
    with running_cluster_agent(tmp_path, database_url=url) as agent:
        assert state(agent) == before
        assert seek(agent, secret, "web-1") == 200
        assert seek(agent, later, "web-3") == 403
