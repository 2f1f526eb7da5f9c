"""Builds in a store of our own: nothing of /var/lib/containers or /etc/containers is read or written.

Every command runs in mount and PID namespaces of its own and dies with us: whatever happens, no mount and no
process stays.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from tests.images.errors import ImagesUnavailableError
from tests.images.registries import mounts

_PACKAGES = {
    "buildah": "buildah",
    "mmdebstrap": "mmdebstrap",
    "setpriv": "util-linux",
    "unshare": "util-linux",
}
_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
# Of every build of other sources some small layers stay. When there are this many, the store starts anew.
_MOST_LAYERS = 300
_ALONE = (
    *("setpriv", "--pdeathsig", "KILL"),
    *("unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child", "--mount-proc"),
)
# Where buildah keeps what it knows of registries; there is no setting that puts that elsewhere.
_SYSTEM = Path("/var/lib/containers")
_HIDING_SYSTEM = ("sh", "-c", f'mount -t tmpfs tmpfs {_SYSTEM} && exec "$@"', "sh")


def check_requirements(environment: Mapping[str, str]) -> None:
    """Raises ImagesUnavailableError with everything that is missing, not only the first."""
    if sys.platform != "linux":
        raise ImagesUnavailableError(f"images are built on Linux, and this is {sys.platform}")
    problems = []
    if os.geteuid() != 0:
        problems.append("root is needed (mounts, owners of files): run this as root")
    missing = [name for name in _PACKAGES if not shutil.which(name, path=environment.get("PATH"))]
    packages = {_PACKAGES[name] for name in missing}
    if not _KEYRING.exists():
        missing.append(str(_KEYRING))
        packages.add("debian-archive-keyring")
    if missing:
        problems.append(f"missing: {', '.join(missing)} (apt-get install {' '.join(sorted(packages))})")
    if problems:
        raise ImagesUnavailableError("; ".join(problems))


class Store:
    """Images and their layers, kept from one build to the next. For one process at a time."""

    def __init__(self, directory: Path, log: Path, environment: Mapping[str, str]) -> None:
        self._directory = directory
        self._log = log
        self._environment = environment

    def __enter__(self) -> Self:
        # Always the same, so that what a killed build left goes with the next: passwords may be in it.
        self.scratch = self._directory.with_name("scratch")
        shutil.rmtree(self.scratch, ignore_errors=True)
        self.scratch.mkdir(mode=0o700, parents=True)
        if len(list(self._directory.glob("*/*"))) > _MOST_LAYERS:
            shutil.rmtree(self._directory)
        self._directory.mkdir(parents=True, exist_ok=True)
        self._made_mount_point = not _SYSTEM.exists()
        _SYSTEM.mkdir(exist_ok=True)
        self._log.write_bytes(b"")
        self._settings = {
            "CONTAINERS_STORAGE_CONF": self._file("storage.conf", self._storage()),
            "CONTAINERS_REGISTRIES_CONF": self._file(
                "registries.conf", 'unqualified-search-registries = ["docker.io"]\n'
            ),
            "CONTAINERS_CONF": self._file("containers.conf", ""),
            "TMPDIR": str(self.scratch),
        }
        self._policy = self._file("policy.json", '{"default": [{"type": "insecureAcceptAnything"}]}')
        # What a killed build was working on.
        self._run("rm", "--all")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        shutil.rmtree(self.scratch)
        if self._made_mount_point and not any(_SYSTEM.iterdir()):
            _SYSTEM.rmdir()

    def has(self, reference: str) -> bool:
        return bool(self._ask("images", "--quiet", "--filter", f"reference={reference}"))

    def import_root(self, archive: Path, reference: str) -> None:
        """Makes a tar of a root file system an image of one layer."""
        container = self._ask("from", "scratch")
        self._run("add", "--quiet", container, str(archive), "/")
        self._run("commit", "--quiet", "--rm", container, reference)

    def tag(self, reference: str, another: str) -> None:
        self._run("tag", reference, another)

    def build(self, reference: str, container_file: Path, context: Path, *, anew: bool = False) -> None:
        """`docker build` without pulling. Its steps see this machine's registries; the image does not.

        With `anew` every step is run again, also where the store has its result.
        """
        volumes = mounts(self.scratch, self._environment)
        self._run(
            "build",
            *("--isolation", "chroot", "--pull-never", "--layers", "--timestamp", "0"),
            *(("--no-cache",) if anew else ()),
            *(f"--volume={here}:{there}:ro" for here, there in volumes.items()),
            *("--signature-policy", self._policy),
            *("--file", str(container_file), "--tag", reference, str(context)),
        )

    def save(self, reference: str, archive: Path) -> None:
        """Writes the image to an OCI archive, which carries its reference."""
        archive.unlink(missing_ok=True)
        self._run(
            *("push", "--quiet", "--signature-policy", self._policy, "--format", "oci"),
            *(reference, f"oci-archive:{archive}:{reference}"),
        )

    def _storage(self) -> str:
        """An overlay on an overlay (a build within a container) does not work: there each layer is a copy."""
        kind = subprocess.run(
            ["stat", "--file-system", "--format=%T", self._directory],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        driver = "vfs" if kind == "overlayfs" else "overlay"
        runtime = self.scratch / "run"
        return f'[storage]\ndriver = "{driver}"\ngraphroot = "{self._directory}"\nrunroot = "{runtime}"\n'

    def _file(self, name: str, text: str) -> str:
        path = self.scratch / name
        path.write_text(text)
        return str(path)

    def _run(self, *arguments: str) -> None:
        with self._log.open("a") as log:
            self._buildah(arguments, stdout=log, stderr=log)

    def _ask(self, *arguments: str) -> str:
        with self._log.open("a") as log:
            return self._buildah(arguments, stdout=subprocess.PIPE, stderr=log).strip()

    def _buildah(self, arguments: tuple[str, ...], *, stdout: IO[str] | int, stderr: IO[str]) -> str:
        done = subprocess.run(
            [*_ALONE, *_HIDING_SYSTEM, "buildah", *arguments],
            env={**self._environment, **self._settings},
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            tail = "\n".join(self._log.read_text(errors="replace").splitlines()[-20:])
            raise ImagesUnavailableError(
                f"buildah {arguments[0]} failed (exit {done.returncode}); the end of {self._log}:\n{tail}"
            )
        return done.stdout or ""
