"""The example in the library's document runs as it stands there."""

from __future__ import annotations

import re
import subprocess
import sys

from tests.checkout import CHECKOUT


def test_the_example_runs_and_proves_what_it_says() -> None:
    text = (CHECKOUT / "docs" / "blessings.md").read_text()
    example = re.search(r"```python\n(.*?)```", text, re.DOTALL)
    assert example is not None
    code = example.group(1) + "print(*verdict.valid, *verdict.rejected)"
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=CHECKOUT
    )
    assert ran.stdout.strip() == "acme:alice:phone"


def test_importing_the_library_brings_neither_files_nor_the_network() -> None:
    code = "import blessings, sys; print(*sorted(sys.modules))"
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=CHECKOUT
    )
    modules = set(ran.stdout.split())
    assert not modules & {"ssl", "http", "httpx", "blessings.tls", "blessings.directory", "yaml"}
