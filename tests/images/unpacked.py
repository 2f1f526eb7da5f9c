"""An image under runc, without a node: as a kubelet runs a container under Pod Security `restricted`."""

from __future__ import annotations

import copy
import io
import json
import os
import shutil
import subprocess
import tarfile
import uuid
from pathlib import Path
from typing import Any

from tests.controlplane.programs import Say
from tests.images.archives import configuration, layers
from tests.images.errors import ImagesUnavailableError
from tests.images.images import IMAGES, images
from tests.waiting import CLUSTER_PATIENCE_SECONDS


def runnable_images(say: Say) -> dict[str, Path]:
    """Each image's archive by its short name, built now if need be, where runc is there to run it.

    Raises ImagesUnavailableError.
    """
    found = images(say)
    if os.geteuid() != 0 or not shutil.which("runc"):
        raise ImagesUnavailableError("running an image takes root and runc (apt-get install runc)")
    return {image.name: found[image.reference] for image in IMAGES}


def chrooted(archive: Path, root: Path) -> list[str]:
    """The command of an image's program in its files, unpacked in `root`, on this machine's network as root.

    Paths below `root` mean the same to the program.
    """
    _unpack(archive, root)
    (root / "proc").mkdir()
    itself = root / root.relative_to("/")
    itself.parent.mkdir(parents=True, exist_ok=True)
    itself.symlink_to("/")
    entrypoint = configuration(archive)["Entrypoint"]
    assert isinstance(entrypoint, list)
    return ["unshare", "--mount-proc", f"--root={root}", *entrypoint]


def _unpack(archive: Path, root: Path) -> None:
    for _, layer in layers(archive):
        with tarfile.open(fileobj=io.BytesIO(layer)) as tar:
            tar.extractall(root, filter="fully_trusted")  # noqa: S202 - our own


class Container:
    """One image under runc: as its user, without capabilities or new privileges, on a read-only root."""

    def __init__(self, archive: Path, directory: Path) -> None:
        self.root = directory / "rootfs"
        self._directory = directory
        self._settings: dict[str, Any] = configuration(archive)
        _unpack(archive, self.root)
        directory.chmod(0o755)
        subprocess.run(["runc", "spec"], cwd=directory, check=True)
        self._specification = json.loads((directory / "config.json").read_text())

    def start(self, *arguments: str, entrypoint: list[str] | None = None) -> subprocess.Popen[str]:
        spec = copy.deepcopy(self._specification)
        user, group = map(int, self._settings["User"].split(":"))
        spec["process"] |= {
            "args": [*(entrypoint or self._settings["Entrypoint"]), *arguments],
            "env": self._settings["Env"],
            "user": {"uid": user, "gid": group},
            "terminal": False,
            "capabilities": {},
            "noNewPrivileges": True,
        }
        spec["root"]["readonly"] = True
        spec["mounts"].append(
            {"destination": "/run/vanadium", "type": "tmpfs", "source": "tmpfs", "options": ["mode=0777"]}
        )
        (self._directory / "config.json").write_text(json.dumps(spec))
        # What is left of a killed test ends with its PID namespace.
        alone = [
            "setpriv",
            "--pdeathsig",
            "KILL",
            "unshare",
            "--pid",
            "--fork",
            "--kill-child",
            "--mount-proc",
        ]
        command = [*alone, "runc", "--root", str(self._directory / "runc"), "run", f"vanadium-{uuid.uuid4()}"]
        return subprocess.Popen(
            command, cwd=self._directory, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    def run(self, *arguments: str, entrypoint: list[str] | None = None) -> tuple[int, str]:
        process = self.start(*arguments, entrypoint=entrypoint)
        output, _ = process.communicate(timeout=CLUSTER_PATIENCE_SECONDS)
        return process.returncode, output

    def python(self, code: str) -> tuple[int, str]:
        return self.run(entrypoint=["/opt/vanadium/bin/python", "-I", "-c", code])
