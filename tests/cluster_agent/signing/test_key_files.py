"""The keys in files: made once, read by every replica, and what is said when they don't fit."""

from __future__ import annotations

import subprocess
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from blessings import Name, Principal, Roots
from cluster_agent.errors import DataDirectoryError
from cluster_agent.signing.key_files import make_signing_room, read_signing_room
from cluster_agent.signing.room import SigningRoom
from tests.cluster_agents import another_replica, as_arguments, free_port, pod_token, running_cluster_agent
from tests.csrs import csr_of
from tests.postgresql import Postgresql
from tests.waiting import PATIENCE_SECONDS

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
ACME = Name.parse("acme")


def test_keys_are_made_once_and_read_again(tmp_path: Path) -> None:
    made = make_signing_room(tmp_path, ACME, now=NOW)
    assert make_signing_room(tmp_path, ACME, now=NOW).fingerprints == made.fingerprints
    assert read_signing_room(tmp_path, ACME).fingerprints == made.fingerprints
    assert len(set(made.fingerprints.values())) == 3
    assert read_signing_room(tmp_path, ACME).identity.roots == made.identity.roots
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bootstrap.pem", "issuing.pem", "root.pem"]


def test_several_that_make_them_at_once_end_with_the_same(tmp_path: Path) -> None:
    made: list[SigningRoom] = []
    together = threading.Barrier(8)

    def make() -> None:
        together.wait()
        made.append(make_signing_room(tmp_path, ACME, now=NOW))

    threads = [threading.Thread(target=make) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [one.fingerprints for one in made] == [made[0].fingerprints] * 8
    assert [one.identity.roots for one in made] == [made[0].identity.roots] * 8


def test_shared_keys_are_never_made_by_a_replica(tmp_path: Path) -> None:
    with pytest.raises(DataDirectoryError, match=r"root\.pem is missing; make the keys once"):
        read_signing_room(tmp_path, ACME)
    assert list(tmp_path.iterdir()) == []


def test_a_root_of_another_name_is_refused(tmp_path: Path) -> None:
    make_signing_room(tmp_path, ACME, now=NOW)
    with pytest.raises(DataDirectoryError, match="is the root acme, the name prefix asks for other"):
        read_signing_room(tmp_path, Name.parse("other"))


def test_the_program_makes_them_and_says_which_root(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "cluster_agent.make_keys", "--name-prefix", "acme:prod", str(tmp_path)]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    room = read_signing_room(tmp_path, ACME)
    assert ended.stdout == f"root acme, key {room.fingerprints['root']}\n"
    assert "PRIVATE" not in ended.stdout + ended.stderr


def test_a_wrong_prefix_makes_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "cluster_agent.make_keys", "--name-prefix", "a b", str(tmp_path)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert "--name-prefix: " in ended.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_secret_of_one_replica_is_good_at_another(tmp_path: Path, postgresql: Postgresql) -> None:
    (tmp_path / "second").mkdir()
    with (
        running_cluster_agent(tmp_path, database_url=postgresql.new_database()) as first,
        another_replica(first, tmp_path / "second") as second,
    ):
        credential = first.new_secret()["credential"]
        body = {"csr": csr_of(Principal.create()), "token": pod_token(first.tokens)}
        with second.credential_client(credential) as client:
            answer = client.post("/v1/seek-blessings", json=body)
        answer.raise_for_status()
        with first.client(None, None) as client:
            roots = Roots.from_json(client.get("/v1/roots").json()["roots"])
        assert roots == Roots.from_json(answer.json()["roots"])
        with first.control_plane_client() as client:
            client.post("/v1/forget-secret", json={"id": credential["id"]}).raise_for_status()
        body = {"csr": csr_of(Principal.create()), "token": pod_token(first.tokens)}
        with second.credential_client(credential) as client:
            refusal = client.post("/v1/seek-blessings", json=body)
        assert refusal.json()["error"]["reason"] == "SecretForgotten"
        assert [httpx.get(one.health_url + "/readyz").status_code for one in (first, second)] == [200, 200]


def test_a_replica_with_keys_of_its_own_does_not_start(tmp_path: Path, postgresql: Postgresql) -> None:
    make_signing_room(tmp_path / "other-keys", ACME, now=datetime.now(UTC))
    with running_cluster_agent(tmp_path, database_url=postgresql.new_database()) as first:
        flags = {
            **first.flags,
            "keys_directory": tmp_path / "other-keys",
            "port": free_port(),
            "health_port": free_port(),
        }
        ended = subprocess.run(
            [sys.executable, "-m", "cluster_agent", *as_arguments(flags)],
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE_SECONDS,
        )
    assert ended.returncode == 1
    assert "this database belongs to a cluster agent whose" in ended.stderr


def test_with_keys_of_its_own_directory_it_makes_the_data_directory_for_its_store(tmp_path: Path) -> None:
    make_signing_room(tmp_path / "keys", ACME, now=datetime.now(UTC))
    data = tmp_path / "not" / "there"
    with running_cluster_agent(tmp_path, keys_directory=tmp_path / "keys", data_directory=data):
        assert (data / "cluster-agent.sqlite3").exists()
        assert data.stat().st_mode & 0o777 == 0o700
