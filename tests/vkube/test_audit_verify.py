"""`vkube audit verify` of what it copies out of a real cluster agent."""

from __future__ import annotations

import argparse
import sqlite3
import tarfile
from contextlib import closing
from io import BytesIO
from pathlib import Path

import pytest

from cluster_agent.store.database import SQLITE
from cluster_agent.verify_audit import Verified, retention_arguments, verified
from tests.cluster_agent.backup.test_backup import archive
from tests.cluster_agents import running_cluster_agent
from vkube.commands import audit_verify


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data directory of an agent that ended, and so noted all of its records."""
    directory = tmp_path_factory.mktemp("audited")
    with running_cluster_agent(directory) as agent:
        agent.new_secret()
    return agent.data_directory


def found(data: Path, tmp_path: Path, *, logs: dict[str, list[str]] | None = None) -> Verified:
    """What the command finds when that is what the cluster has."""
    copied = archive(data, "--audit")
    assert copied.returncode == 0, copied.stderr
    file = BytesIO(copied.stdout)
    parser = argparse.ArgumentParser()
    parser.add_argument("--key", action="append", default=[])
    retention_arguments(parser)
    if logs is None:
        logs = {"the heads beside the store": audit_verify.witness_in(file)}
    with audit_verify.stored(tmp_path / "audit.sqlite3", file) as audit:
        return verified(parser.parse_args([]), audit, logs)


def test_no_key_and_no_other_table_leaves_the_cluster(data: Path) -> None:
    with tarfile.open(fileobj=BytesIO(archive(data, "--audit").stdout)) as archived:
        names = archived.getnames()
        rows = archived.extractfile("rows/000001.jsonl")
        assert rows is not None
        content = rows.read()
    assert names == ["backup.json", "witness", "rows/000001.jsonl", "complete"]
    assert b'{"table": "secrets"' not in content


def test_what_is_as_written_is_proved_by_the_heads_beside_the_store(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    proved = found(data, tmp_path)
    assert (proved.problems, proved.unproved) == ([], [])
    assert audit_verify.shown(proved) == 0
    assert capsys.readouterr().out.endswith("noted heads: all as written, as far as noted\n")


def test_attack_a_changed_record_is_found_and_ends_with_4(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = (data.parent / "cluster-agent.log").read_text().splitlines()
    with closing(sqlite3.connect(data / SQLITE)) as store, store:
        before = store.execute("SELECT chain, number, record FROM audit_records LIMIT 1").fetchone()
        store.execute("UPDATE audit_records SET record = replace(record, 'shop', 'soap')")
    changed = found(data, tmp_path, logs={"kept": log})
    assert any("was changed, or another put in its place" in problem for problem in changed.problems), before
    assert audit_verify.shown(changed) == 4
    assert "WRONG: chain " in capsys.readouterr().out
