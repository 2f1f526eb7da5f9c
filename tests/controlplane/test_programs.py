"""How the programs are found and built. The compiler is a double here, a shell script; the real one has
built what the other tests run."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from tests.controlplane import programs as module
from tests.controlplane.programs import (
    CONTROL_PLANE,
    NAMES,
    Programs,
    ProgramsUnavailableError,
    build_one,
    key,
    programs,
)

GO = """\
#!/bin/sh
if [ "$1" = env ]; then echo go1.99.0; exit; fi
while [ "$1" != -o ]; do shift; done
echo "$2" >> {log}
{behaviour}
"""


def environment(tmp_path: Path, behaviour: str = 'touch "$2"; chmod +x "$2"') -> dict[str, str]:
    """One whose PATH has a `go` that notes its targets and then does as told."""
    tools = tmp_path / "tools"
    tools.mkdir()
    go = tools / "go"
    go.write_text(GO.format(log=tmp_path / "built", behaviour=behaviour))
    go.chmod(0o755)
    return {"PATH": f"{tools}:/usr/bin:/bin", "VANADIUM_CACHE": str(tmp_path / "cache")}


def built(tmp_path: Path) -> list[str]:
    return (tmp_path / "built").read_text().split()


def test_all_programs_are_built_once(tmp_path: Path) -> None:
    where = environment(tmp_path)
    first, again = programs(print, where), programs(print, where)
    assert first == again
    assert not first.missing
    assert len(built(tmp_path)) == len(NAMES)


def test_two_builds_at_once_build_once(tmp_path: Path) -> None:
    where = environment(tmp_path, 'sleep 0.05; touch "$2"; chmod +x "$2"')
    threads = [threading.Thread(target=programs, args=(print, where)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(built(tmp_path)) == len(NAMES)


def test_an_interrupted_build_leaves_no_half_program_and_keeps_the_finished_ones(tmp_path: Path) -> None:
    where = environment(tmp_path, 'touch "$2"; case "$2" in *scheduler*) exit 1;; esac; chmod +x "$2"')
    with pytest.raises(ProgramsUnavailableError, match="could not build kube-scheduler"):
        programs(print, where)
    directory = tmp_path / "cache" / "controlplane" / key(module.MODULE)
    assert Programs((directory,)).missing == ["kube-scheduler", "kubectl"]


def test_a_failed_build_shows_what_the_compiler_said(tmp_path: Path) -> None:
    where = environment(tmp_path, "echo no such module >&2; exit 1")
    with pytest.raises(ProgramsUnavailableError, match="no such module"):
        build_one(tmp_path / "tools" / "go", CONTROL_PLANE, "etcd", tmp_path / "etcd", print, where)


def test_the_key_changes_with_the_sources(tmp_path: Path) -> None:
    (tmp_path / "go.mod").write_text("module a\n")
    before = key(tmp_path)
    (tmp_path / "main.go").write_text("package main\n")
    assert key(tmp_path) != before


def test_what_kubebuilder_assets_lack_is_built(tmp_path: Path) -> None:
    assets = tmp_path / "assets"
    assets.mkdir()
    for name in ("etcd", "kube-apiserver", "kubectl"):
        (assets / name).touch(0o755)
    found = programs(print, {**environment(tmp_path), "KUBEBUILDER_ASSETS": str(assets)})
    assert found["etcd"] == assets / "etcd"
    assert len(built(tmp_path)) == 2


def test_kubebuilder_assets_that_are_not_there_are_named(tmp_path: Path) -> None:
    with pytest.raises(ProgramsUnavailableError, match="none, which is no directory"):
        programs(print, {"KUBEBUILDER_ASSETS": str(tmp_path / "none")})
