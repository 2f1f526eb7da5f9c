"""java-spiffe, unmodified: python -m tests.clients.java (needs a JDK of 17 or newer and mvn)."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.clients import library

_PROJECT = Path(__file__).parent / "java_client"


def build(directory: Path) -> Sequence[str | Path]:
    class_path = directory / "java-class-path"
    goal = ["dependency:build-classpath", f"-Dmdep.outputFile={class_path}"]
    subprocess.run(["mvn", "--quiet", "--batch-mode", *goal], cwd=_PROJECT, check=True)
    return ["java", "-cp", class_path.read_text(), _PROJECT / "Client.java"]


if __name__ == "__main__":
    library.main(__doc__ or "", build)
