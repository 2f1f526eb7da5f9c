"""What each folder may import, as docs/development.md states it, and which libraries the light ones use."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.checkout import CHECKOUT

FOLDERS = frozenset(
    tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"][
        "packages"
    ]
)
# What goes into the sidecar, into applications, and into programs that only verify, has to stay light.
LIBRARIES = {
    "blessings": {"cryptography"},
    "service": {"cryptography", "h11", "httpx", "prometheus_client", "structlog", "uvicorn"},
    "pod_agent": {"cryptography", "h11", "h2", "hpack"},
    "agent_client": {"cryptography", "httpx", "spiffe", "uvicorn"},
}


def imported(folder: str) -> Iterator[tuple[Path, str]]:
    """Each file in `folder`, with the first part of what it imports, wherever in the file it does."""
    for path in sorted((CHECKOUT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_bytes())):
            match node:
                case ast.Import(names=names):
                    yield from ((path, name.name.split(".")[0]) for name in names)
                case ast.ImportFrom(module=str(module), level=0):
                    yield path, module.split(".")[0]
                case ast.ImportFrom():
                    yield path, folder


def documented() -> dict[str, set[str]]:
    table = (CHECKOUT / "docs/development.md").read_text().split("| folder |")[1].split("\n\n")[0]
    rows = re.findall(r"^\| `(\w+)/` \| [^|]* \| ([^|]*) \|$", table, re.MULTILINE)
    return {
        folder: set(FOLDERS) if may == "all of them" else set(re.findall(r"`(\w+)`", may)) & FOLDERS
        for folder, may in rows
        if folder in FOLDERS
    }


def test_the_documents_say_of_each_folder_what_it_may_import() -> None:
    assert set(documented()) == FOLDERS
    assert documented()["blessings"] == set()
    assert documented()["service"] == {"blessings"}


@pytest.mark.parametrize("folder", sorted(FOLDERS))
def test_a_folder_imports_no_other_folder_than_the_documents_allow(folder: str) -> None:
    allowed = documented()[folder] | {folder}
    assert [
        f"{path.relative_to(CHECKOUT)} imports {name}"
        for path, name in imported(folder)
        if name in FOLDERS | {"tests", "examples"} and name not in allowed
    ] == []


@pytest.mark.parametrize("folder", sorted(LIBRARIES))
def test_a_folder_that_must_stay_light_uses_no_other_library(folder: str) -> None:
    allowed = LIBRARIES[folder] | FOLDERS | sys.stdlib_module_names
    assert [
        f"{path.relative_to(CHECKOUT)} imports {name}"
        for path, name in imported(folder)
        if name not in allowed
    ] == []


def test_the_sidecar_loads_no_library_beyond_its_own() -> None:
    """Not by `service/` either, whose modules for the other programs use more."""
    loaded = "import sys, pod_agent.__main__; print(*{name.split('.')[0] for name in sys.modules})"
    ran = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True)
    of_libraries = {name for name in ran.stdout.split() if not name.startswith("_")} - sys.stdlib_module_names
    below = {"hyperframe"}  # what h2 needs
    # A checkout's environment loads these at the start of every interpreter.
    environment = {"distutils", "sitecustomize", "usercustomize"}
    assert of_libraries - environment <= LIBRARIES["pod_agent"] | below | {
        "blessings",
        "service",
        "pod_agent",
    }
