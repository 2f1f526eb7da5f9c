"""Directories beside tests are taken from nobody who is still there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.owned_directory import OwnedDirectory, clean

_PREFIX = "vanadium-owned-test-"
_CLEANING = f"from tests.owned_directory import clean\nwhile True: clean({_PREFIX!r})"


def test_a_directory_stays_however_often_others_clean_meanwhile() -> None:
    cleaning = [subprocess.Popen([sys.executable, "-c", _CLEANING]) for _ in range(2)]
    try:
        for _ in range(2000):
            owned = OwnedDirectory(_PREFIX, Path("/tmp"))
            assert (owned.path / "lock").exists()
            owned.remove()
        assert [one.poll() for one in cleaning] == [None, None]
    finally:
        for one in cleaning:
            one.kill()
            one.wait()


def test_a_directory_is_removed_when_its_owner_is_gone() -> None:
    making = f"from tests.owned_directory import *; print(OwnedDirectory({_PREFIX!r}, Path('/tmp')).path)"
    made = subprocess.run([sys.executable, "-c", making], capture_output=True, text=True, check=True)
    assert Path(made.stdout.strip()).is_dir()
    clean(_PREFIX)
    assert not Path(made.stdout.strip()).exists()
