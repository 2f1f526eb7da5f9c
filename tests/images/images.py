"""Which images there are, what each is built from, and their archives, built now if need be."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.checkout import CHECKOUT
from tests.controlplane.programs import (
    ProgramsUnavailableError,
    Say,
    cache_directory,
    go_toolchain,
    locked,
)
from tests.images import base_image, buildah
from tests.images.archives import appearing_whole, use
from tests.images.errors import ImagesUnavailableError

PAUSE = "registry.k8s.io/pause:3.10"


@dataclass(frozen=True)
class Image:
    """The reference that containerd knows it by, and what it is built from, within the checkout."""

    reference: str
    container_file: str
    sources: tuple[str, ...]

    @property
    def name(self) -> str:
        return self.reference.rsplit("/", 1)[-1].split(":")[0]


_DEPENDENCIES = (
    "pyproject.toml",
    "uv.lock",
    "deploy/images/root.py",
    "deploy/images/sbom.py",
    ".dockerignore",
)
PYTHON_IMAGES = (
    Image(
        "docker.io/vanadium/pod-agent:0.2.0",
        "deploy/images/pod-agent.Containerfile",
        (
            *_DEPENDENCIES,
            "deploy/images/start.py",
            "deploy/images/start_data.py",
            "blessings",
            "service",
            "pod_agent",
        ),
    ),
    Image(
        "docker.io/vanadium/cluster-agent:0.2.0",
        "deploy/images/cluster-agent.Containerfile",
        (*_DEPENDENCIES, "blessings", "service", "cluster_agent"),
    ),
    Image(
        "docker.io/vanadium/webhook:0.2.0",
        "deploy/images/webhook.Containerfile",
        (*_DEPENDENCIES, "deploy/images/machine_code.py", "blessings", "certs", "service", "webhook"),
    ),
    Image(
        "docker.io/vanadium/fortune:0.2.0",
        "examples/fortune/Containerfile",
        (*_DEPENDENCIES, "blessings", "agent_client", "examples/fortune/fortune"),
    ),
)
_PAUSE_IMAGE = Image(PAUSE, "tests/images/pause/Containerfile", ("tests/images/pause/main.go",))
IMAGES = (*PYTHON_IMAGES, _PAUSE_IMAGE)


def images(
    say: Say,
    environment: Mapping[str, str] = os.environ,
    wanted: Sequence[Image] = IMAGES,
    checkout: Path = CHECKOUT,
) -> dict[str, Path]:
    """Each wanted image's reference and its archive, built of `checkout` if need be.

    `say` is told of each step.

    Raises ImagesUnavailableError, which names what is missing and how to get it. What is built already needs
    neither root nor any program.
    """
    cache = cache_directory(environment) / "images"
    archives = {image: cache / f"{image.name}-{key(image, checkout)}.tar" for image in wanted}
    if _missing(archives):
        buildah.check_requirements(environment)
        cache.mkdir(parents=True, exist_ok=True)
        with locked(cache / "lock", say):
            _build(_missing(archives), checkout, cache, say, environment)
    for archive in archives.values():
        use(archive)
    return {image.reference: archive for image, archive in archives.items()}


def build_anew(image: Image, archive: Path, say: Say, environment: Mapping[str, str] = os.environ) -> None:
    """Builds a Python image with no step from the cache, and writes it to `archive`."""
    cache = cache_directory(environment) / "images"
    log = archive.with_suffix(".log")
    with locked(cache / "lock", say), buildah.Store(cache / "store", log, environment) as store:
        base_image.ensure(store, cache, say, environment)
        store.build("localhost/anew:1", CHECKOUT / image.container_file, CHECKOUT, anew=True)
        store.save("localhost/anew:1", archive)


def key(image: Image, checkout: Path = CHECKOUT) -> str:
    """A name that changes with everything that goes into the image, and with the platform."""
    digest = hashlib.sha256(f"{platform.machine()} {base_image.key()}".encode())
    for path in (image.container_file, *image.sources):
        for file in _files(checkout / path):
            digest.update(f"{file.relative_to(checkout)}\0".encode() + file.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def _files(path: Path) -> Iterator[Path]:
    if path.is_dir():
        yield from sorted(file for file in path.rglob("*") if file.suffix in (".py", ".json"))
    else:
        yield path


def _missing(archives: Mapping[Image, Path]) -> dict[Image, Path]:
    return {image: archive for image, archive in archives.items() if not archive.exists()}


def _build(
    missing: Mapping[Image, Path], checkout: Path, cache: Path, say: Say, environment: Mapping[str, str]
) -> None:
    if not missing:  # somebody else built them while we waited
        return
    say(f"building {', '.join(image.name for image in missing)} into {cache}")
    with buildah.Store(cache / "store", cache / "store.log", environment) as store:
        if any(image != _PAUSE_IMAGE for image in missing):
            base_image.ensure(store, cache, say, environment)
        for image, archive in missing.items():
            began = time.monotonic()
            context = _pause_context(store.scratch, say, environment) if image == _PAUSE_IMAGE else checkout
            store.build(image.reference, checkout / image.container_file, context)
            with appearing_whole(archive) as unfinished:
                store.save(image.reference, unfinished)
            say(f"  {image.name}: done in {time.monotonic() - began:.0f} s")


def _pause_context(scratch: Path, say: Say, environment: Mapping[str, str]) -> Path:
    try:
        go = go_toolchain(say, environment)
    except ProgramsUnavailableError as error:
        raise ImagesUnavailableError(str(error)) from error
    context = scratch / "pause"
    context.mkdir()
    command = [
        str(go),
        "build",
        "-trimpath",
        "-buildvcs=false",
        "-ldflags=-s -w",
        "-o",
        str(context / "pause"),
    ]
    compiled = subprocess.run(
        [*command, str(CHECKOUT / "tests/images/pause/main.go")],
        env={**environment, "CGO_ENABLED": "0", "GOFLAGS": "", "GOWORK": "off"},
        capture_output=True,
        text=True,
        check=False,
    )
    if compiled.returncode != 0:
        raise ImagesUnavailableError(f"go could not build pause:\n{compiled.stderr}")
    return context
