"""A cluster agent is backed up while it runs, and restored, by the programs that vkube runs there."""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
import subprocess
import sys
import tarfile
from contextlib import closing
from io import BytesIO, TextIOWrapper
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import patch

import pytest

from blessings import Principal
from cluster_agent.backup import archive as archive_program
from cluster_agent.backup import restoration as restoration_program
from cluster_agent.backup.places import Places
from cluster_agent.backup.restoration import Incoming, restore
from cluster_agent.errors import ClusterAgentError
from cluster_agent.store.database import SQLITE
from cluster_agent.verify_audit import main as verify_audit
from tests.checkout import CHECKOUT
from tests.cluster_agents import RunningClusterAgent, pod_token, running_cluster_agent
from tests.csrs import csr_of
from tests.postgresql import Postgresql

SEEK = "/v1/seek-blessings"
Ended = subprocess.CompletedProcess[bytes]


def archive(data: Path | None = None, *arguments: str, **environment: str) -> Ended:
    """`cluster_agent.backup.archive`, with the environment that the agent's container has."""
    return run(archive_program, data, environment, *arguments)


def restoration(data: Path | None, content: bytes, *arguments: str, **environment: str) -> Ended:
    return run(restoration_program, data, environment, *arguments, stdin=content)


def run(
    program: ModuleType, data: Path | None, environment: dict[str, str], *arguments: str, stdin: bytes = b""
) -> Ended:
    """What the program prints and ends with. In this process: to start it takes longer than all that it does
    (and the tests below that read an endless input and look at each write do start it)."""
    places = {"DATA_DIRECTORY": str(data)} if data else environment
    variables = {f"VANADIUM_CLUSTER_AGENT_{name}": value for name, value in places.items()}
    argv, out = [program.__name__, *arguments], TextIOWrapper(BytesIO())
    code, complaint = 0, ""
    with (
        patch("sys.argv", argv),
        patch("sys.stdin", TextIOWrapper(BytesIO(stdin))),
        patch("sys.stdout", out),
        patch.dict(os.environ, variables),
    ):
        try:
            program.main()
        except SystemExit as ended:  # with a text: as the interpreter does
            code, complaint = 1, str(ended.code)
    out.flush()
    return Ended(argv, code, out.detach().getvalue(), complaint.encode())


def seek(agent: RunningClusterAgent, secret: dict[str, Any], pod: str) -> int:
    body = {"csr": csr_of(Principal.create()), "token": pod_token(agent.tokens, pod, pod_uid=f"uid-{pod}")}
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


def act(agent: RunningClusterAgent, path: str, **body: object) -> None:
    with agent.control_plane_client() as client:
        client.post(path, json=body).raise_for_status()


def test_what_was_there_at_the_backup_is_there_after_the_restore_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "first").mkdir()
    with running_cluster_agent(tmp_path / "first") as agent:
        secret = agent.new_secret()
        assert seek(agent, secret, "web-1") == 200
        register = {"namespace": "shop", "serviceAccount": "db", "name": "acme:prod:Database"}
        act(agent, "/v1/register-application", **register)
        before = state(agent)
        backup = archive(agent.data_directory)
        assert backup.returncode == 0, backup.stderr
        later = agent.new_secret("shop", "other")
        assert seek(agent, secret, "web-2") == 200
    (tmp_path / "second").mkdir()
    data = tmp_path / "second" / "data"
    restored = restoration(data, backup.stdout)
    assert restored.returncode == 0, restored.stderr
    first, second = restored.stdout.decode().splitlines()
    assert first == "restored: bootstrap.pem issuing.pem root.pem cluster-agent.sqlite3"
    assert second.startswith("no store was there to keep anything of: what was revoked, forgotten or")
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


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str | None:
    if request.param == "sqlite":
        return None
    postgresql: Postgresql = request.getfixturevalue("postgresql")
    return postgresql.new_database()


def places(agent: RunningClusterAgent, database_url: str | None) -> dict[str, Any]:
    if database_url is None:
        return {"data": agent.data_directory}
    return {"data": None, "DATABASE_URL": database_url, "KEYS_DIRECTORY": str(agent.keys_directory)}


def test_attack_a_restore_does_not_un_revoke(tmp_path: Path, database_url: str | None) -> None:
    """A Pod, an application and a secret that were revoked or forgotten after the backup stay so."""
    settings: dict[str, Any] = {"database_url": database_url} if database_url else {}
    with running_cluster_agent(tmp_path, **settings) as agent:
        where = places(agent, database_url)
        revoked, forgotten, good = (agent.new_secret("shop", "web") for _ in range(3))
        agent.new_secret("shop", "closed")
        assert seek(agent, revoked, "web-1") == 200
        act(agent, "/v1/register-application", namespace="shop", serviceAccount="db", name="acme:prod:Db")
        backup = archive(**where)
        assert backup.returncode == 0, backup.stderr
        act(agent, "/v1/revoke", podUid="uid-web-1")
        act(agent, "/v1/revoke", application={"namespace": "shop", "serviceAccount": "closed"})
        act(agent, "/v1/forget-secret", id=forgotten["id"])
        act(agent, "/v1/unregister-application", namespace="shop", serviceAccount="db")
        act(agent, "/v1/register-application", namespace="shop", serviceAccount="new", name="acme:prod:New")
        refused = restoration(content=backup.stdout, **where)
        assert refused.returncode == 1
        assert b"cluster agent uses" in refused.stderr
    restored = restoration(content=backup.stdout, **where)
    assert restored.returncode == 0, restored.stderr
    said = restored.stdout.decode().splitlines()[1:]
    assert said == [
        "kept what was revoked since: 1 certificates, 1 replicas, 1 applications; and 2 forgotten secrets",
        "shop/db is acme:prod:Db again; it was unregistered meanwhile",
        "shop/new was registered as acme:prod:New after the backup: register it again",
    ]
    with running_cluster_agent(tmp_path, **settings) as agent:
        assert [seek(agent, one, "web-1") for one in (revoked, good)] == [403, 403]
        assert [seek(agent, one, "web-2") for one in (forgotten, good)] == [403, 200]
        with agent.control_plane_client() as client:
            listed = client.get("/v1/revocations").json()["revocations"]
            body = {"namespace": "shop", "serviceAccount": "closed"}
            assert client.post("/v1/new-secret", json=body).status_code == 403
        assert {(one["kind"], one["podUid"]) for one in listed} == {
            ("application", None),
            ("replica", "uid-web-1"),
        }


def test_a_backup_of_one_kind_of_store_is_restored_into_the_other(
    tmp_path: Path, postgresql: Postgresql
) -> None:
    (tmp_path / "one").mkdir()
    with running_cluster_agent(tmp_path / "one") as agent:
        secret, before = agent.new_secret(), state(agent)
        backup = archive(agent.data_directory).stdout
        keys = {file.name: file.read_bytes() for file in agent.data_directory.glob("*.pem")}
    (tmp_path / "several" / "keys").mkdir(parents=True)
    url = postgresql.new_database()
    where = {"DATABASE_URL": url, "KEYS_DIRECTORY": str(tmp_path / "several" / "keys")}
    without = restoration(None, backup, **where)
    assert without.returncode == 1
    assert b"put these into the Secret first" in without.stderr
    for name, content in keys.items():
        (tmp_path / "several" / "keys" / name).write_bytes(content)
    restored = restoration(None, backup, **where)
    assert restored.returncode == 0, restored.stderr
    with running_cluster_agent(tmp_path / "several", database_url=url) as agent:
        assert (state(agent), seek(agent, secret, "web-1")) == (before, 200)
        back = archive(None, **where).stdout
    # And back again.
    assert restoration(tmp_path / "one" / "data", back).returncode == 0
    with running_cluster_agent(tmp_path / "one") as agent:
        assert (state(agent), seek(agent, secret, "web-2")) == (before, 200)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data directory of an agent that ended."""
    directory = tmp_path_factory.mktemp("whole")
    with running_cluster_agent(directory) as agent:
        agent.new_secret()
    return agent.data_directory


@pytest.fixture
def data(whole: Path, tmp_path: Path) -> Path:
    """A copy of it, for one test."""
    return Path(shutil.copytree(whole, tmp_path / "data"))


def content(directory: Path) -> dict[str, bytes]:
    """Its files, but for the lock that every restore takes."""
    return {path.name: path.read_bytes() for path in directory.iterdir() if path.suffix != ".lock"}


def repacked(packed: bytes, /, **changed: bytes | None) -> bytes:
    """The archive with other contents of some members, or without them; keys by the member's first name."""
    new = BytesIO()
    with tarfile.open(fileobj=BytesIO(packed)) as old, tarfile.open(fileobj=new, mode="w") as archived:
        for member in old:
            file = old.extractfile(member)
            assert file is not None
            name = re.split(r"[./]", member.name)[0]
            if name not in changed or (found := changed[name]) is not None:
                found = changed.get(name) or file.read()
                member.size = len(found)
                archived.addfile(member, BytesIO(found))
    return new.getvalue()


def test_attack_half_an_archive_or_a_changed_one_replaces_nothing(data: Path) -> None:
    backup = archive(data).stdout
    kept = content(data)
    about = b'{"version": 1, "revision": "r9999"}'
    row = b'{"table": "secrets; DROP TABLE secrets", "columns": ["id"], "rows": [["a"]]}\n'
    column = b'{"table": "secrets", "columns": ["id) VALUES (1); --"], "rows": [["a"]]}\n'
    complete_at = backup.index(b"complete\0")
    short = b'{"table": "secrets", "columns": ["id"], "rows": [["a", "b"]]}\n'
    for wrong, why in (
        (b"", "empty file"),
        (b"no archive" * 100, "this is no archive, or it was cut off"),
        (backup[:512], "this is no archive, or it was cut off"),
        (backup[: complete_at // 2], "cut off"),
        # An end between two members, which tar takes for a whole archive.
        (backup[:complete_at], "the archive was cut off"),
        (repacked(backup, complete=None), "the archive was cut off"),
        (repacked(backup, keys=None), "the archive has no keys"),
        (repacked(backup, backup=b"{}"), "the archive is none of this version's"),
        (repacked(backup, backup=b"[]"), "a line that is no object"),
        (repacked(backup, backup=about), "revision r9999"),
        (repacked(backup, rows=row), "the archive has rows of 'secrets; DROP TABLE secrets'"),
        (repacked(backup, rows=column), "the archive has rows of 'secrets'"),
        (repacked(backup, rows=short), "that are not of its columns"),
        (repacked(backup, rows=b"no JSON\n"), "a line that is not JSON"),
    ):
        assert why in refused(data, wrong), why
        assert content(data) == kept
    assert "was changed on its way" in refused(data, backup, digest="00")
    assert "was cut off" in refused(data, backup, length=complete_at)
    assert content(data) == kept
    assert sorted(path.name for path in data.parent.iterdir()) == ["data"]


def refused(data: Path, archived: bytes, *, length: int | None = None, digest: str | None = None) -> str:
    """Why the archive is not restored."""
    places = Places(data, data, f"sqlite:///{data / SQLITE}", None)
    with pytest.raises(ClusterAgentError) as why:
        restore(places, Incoming(BytesIO(archived), length, digest))
    return str(why.value)


def test_an_archive_is_read_to_its_length_where_the_input_has_no_end(data: Path) -> None:
    backup = archive(data).stdout
    command = [sys.executable, "-m", "cluster_agent.backup.restoration", "--bytes", str(len(backup))]
    environment = {**os.environ, "VANADIUM_CLUSTER_AGENT_DATA_DIRECTORY": str(data)}
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=CHECKOUT, env=environment
    ) as process:
        assert process.stdin is not None
        process.stdin.write(backup)
        process.stdin.flush()
        assert process.wait(120) == 0


def test_what_was_there_is_kept_beside_what_was_restored(data: Path) -> None:
    backup = archive(data).stdout
    (data / "issuing.pem").write_text("another key")
    assert restoration(data, backup).returncode == 0
    assert (data / "issuing.pem").read_text() != "another key"
    assert (data.with_name("data.before") / "issuing.pem").read_text() == "another key"
    assert sorted(path.name for path in data.parent.iterdir()) == ["data", "data.accepted", "data.before"]


def test_a_store_that_cannot_be_read_or_is_anothers_keeps_nothing_and_says_so(
    data: Path, tmp_path: Path
) -> None:
    backup = archive(data).stdout
    with closing(sqlite3.connect(data / SQLITE)) as store, store:
        store.execute("UPDATE authority_keys SET fingerprint = 'another'")
    said = restoration(data, backup).stdout.decode()
    assert "belongs to another cluster agent: nothing of it is kept" in said
    (data / SQLITE).write_bytes(b"no database")
    said = restoration(data, backup).stdout.decode()
    assert "the store that was there cannot be read (" in said
    assert "repeat these acts" in said


def test_a_restore_that_ended_between_its_renames_is_taken_back_as_documented(data: Path) -> None:
    document = (CHECKOUT / "docs" / "operations.md").read_text()
    (code,) = re.findall(r"'(import os; os\.rename.*)'", document)
    before = data.with_name("data.before")
    data.rename(before)
    kept = content(before)
    code = code.replace("/var/lib/vanadium/data", str(data))
    subprocess.run([sys.executable, "-I", "-c", code], check=True)
    assert content(data) == kept


NOTING = """import os, runpy, sys
def noted(call, name):
    def noting(*given):
        where = os.readlink(f"/proc/self/fd/{given[0]}") if name == "synced" else given[0]
        print(name, where, file=sys.stderr)
        return call(*given)
    return noting
os.fsync, os.rename = noted(os.fsync, "synced"), noted(os.rename, "renamed")
runpy.run_module("cluster_agent.backup.restoration", run_name="__main__")
"""


def test_what_was_restored_outlives_a_crash_of_the_node(data: Path) -> None:
    """Names are durable only when their directory is."""
    backup = archive(data).stdout
    environment = {**os.environ, "VANADIUM_CLUSTER_AGENT_DATA_DIRECTORY": str(data)}
    command = [sys.executable, "-c", NOTING]
    ended = subprocess.run(
        command, input=backup, capture_output=True, check=True, cwd=CHECKOUT, env=environment
    )
    restored = data.with_name("data.restored")
    steps = [line.decode() for line in ended.stderr.splitlines()]
    files = {f"synced {restored / name}" for name in content(data)}
    assert set(steps[: len(files)]) == files
    assert steps[len(files) :] == [
        f"synced {restored}",
        f"renamed {data}",
        f"renamed {restored}",
        f"synced {data.parent}",
    ]


def test_a_backup_that_cannot_be_made_says_why(data: Path) -> None:
    (data / SQLITE).write_bytes(b"no database")
    ended = archive(data)
    assert ended.returncode == 1
    assert b"cannot use" in ended.stderr
    (data / SQLITE).unlink()
    assert b"there is no store in" in archive(data).stderr
    assert not (data / SQLITE).exists()
