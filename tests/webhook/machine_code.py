"""The webhook as its image has it: what answers reviews in machine code.

It is compiled once for a state of its sources, and kept outside of the checkout.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
import time
from importlib.metadata import version
from pathlib import Path

from tests.checkout import CHECKOUT
from tests.controlplane.programs import ProgramsUnavailableError, Say, cache_directory, locked

_COMPILER = CHECKOUT / "deploy/images/machine_code.py"
_KEPT = 3


def compiled_webhook(say: Say) -> Path:
    """A directory with the package `webhook`, compiled for this interpreter; `say` is told of each step.

    Raises ProgramsUnavailableError, which names what is missing, and RuntimeError for what mypyc refuses.
    """
    directory = cache_directory() / "machine-code" / _key()
    directory.parent.mkdir(parents=True, exist_ok=True)
    with locked(directory.parent / "lock", say):
        if not directory.exists():
            _check_requirements()
            _compile(directory, say)
        os.utime(directory)
        for other in sorted(directory.parent.glob("[0-9a-f]*"), key=lambda one: -one.stat().st_mtime)[_KEPT:]:
            shutil.rmtree(other)
    return directory


def _key() -> str:
    digest = hashlib.sha256(f"{sysconfig.get_platform()} {sys.version} {version('mypy')}".encode())
    for path in (_COMPILER, *sorted((CHECKOUT / "webhook").rglob("*.py"))):
        digest.update(f"{path.relative_to(CHECKOUT)}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def _check_requirements() -> None:
    compiler = sysconfig.get_config_var("CC").split()[0]
    if shutil.which(compiler) is None:
        raise ProgramsUnavailableError(f"there is no {compiler}, a C compiler (Debian's package gcc has it)")
    header = Path(sysconfig.get_path("include")) / "Python.h"
    if not header.exists():
        raise ProgramsUnavailableError(f"there is no {header} (Debian's package python3-dev has it)")


def _compile(directory: Path, say: Say) -> None:
    say("compiling what answers reviews to machine code (about half a minute, once)")
    began = time.monotonic()
    unfinished = directory.with_name("unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    shutil.copytree(
        CHECKOUT / "webhook", unfinished / "webhook", ignore=shutil.ignore_patterns("__pycache__", "*.so")
    )
    done = subprocess.run(
        [sys.executable, _COMPILER, unfinished], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise RuntimeError(f"mypyc failed: {done.stdout}{done.stderr}")
    unfinished.rename(directory)
    say(f"  done in {time.monotonic() - began:.0f} s")
