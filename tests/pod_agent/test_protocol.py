"""The generated messages are those of workload.proto."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.checkout import CHECKOUT

PROTOCOL = Path("pod_agent/workload/protocol")


def test_the_generated_files_are_up_to_date(tmp_path: Path) -> None:
    (tmp_path / PROTOCOL).mkdir(parents=True)
    shutil.copy(CHECKOUT / PROTOCOL / "workload.proto", tmp_path / PROTOCOL)
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    subprocess.run(
        [sys.executable, "-m", "grpc_tools.protoc", "-I.", "--python_out=.", "--grpclib_python_out=.",
         "--mypy_out=.", PROTOCOL / "workload.proto"],
        cwd=tmp_path, env={**os.environ, "PATH": path}, check=True, capture_output=True,
    )  # fmt: skip
    for generated in ("workload_pb2.py", "workload_pb2.pyi", "workload_grpc.py"):
        fresh, committed = tmp_path / PROTOCOL / generated, CHECKOUT / PROTOCOL / generated
        assert fresh.read_text() == committed.read_text(), f"{generated} is old: make protocol"
