"""Rust's `spiffe`, unmodified: python -m tests.clients.rust (needs cargo, and two minutes the first time)."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.clients import library

_CRATE = Path(__file__).parent / "rust_client"


def build(directory: Path) -> Sequence[Path]:
    target = directory / "rust-target"
    command: list[str | Path] = ["cargo", "build", "--quiet", "--locked", "--target-dir", target]
    subprocess.run(command, cwd=_CRATE, check=True)
    return [target / "debug" / "rust-client"]


if __name__ == "__main__":
    library.main(__doc__ or "", build)
