"""The version before this one, of which an installation is upgraded: its manifests and its images."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.checkout import CHECKOUT
from tests.controlplane.programs import Say, cache_directory, locked
from tests.images.errors import ImagesUnavailableError
from tests.images.images import Image, images

# Change both with each release.
VERSION = "0.1.0"
COMMIT = "a5db82452bbbed020de2597f295e6806aaafc0e8"
_SOURCES = (
    "pyproject.toml", "uv.lock", "README.md", ".dockerignore",
    "blessings", "certs", "cluster_agent", "pod_agent", "webhook", "vkube",
)  # fmt: skip


@dataclass(frozen=True)
class Release:
    """Where its `deploy` is, and each image's reference and archive."""

    deploy: Path
    images: dict[str, Path]


def previous_release(say: Say) -> Release:
    """The release before this one, as this repository's history has it. Raises ImagesUnavailableError."""
    releases = cache_directory() / "releases"
    releases.mkdir(parents=True, exist_ok=True)
    checkout = releases / COMMIT
    with locked(releases / "lock", say):
        if not checkout.exists():
            _extract(checkout)
    wanted = [
        Image(
            f"docker.io/vanadium/{part}:{VERSION}",
            f"deploy/images/{part}.Containerfile",
            _SOURCES,
        )
        for part in ("pod-agent", "cluster-agent", "webhook")
    ]
    return Release(checkout / "deploy", images(say, wanted=wanted, checkout=checkout))


def _extract(checkout: Path) -> None:
    unfinished = checkout.with_name(f".{COMMIT}.unfinished")
    unfinished.mkdir(exist_ok=True)
    archive = subprocess.run(["git", "archive", COMMIT], cwd=CHECKOUT, capture_output=True, check=False)
    if archive.returncode != 0:
        raise ImagesUnavailableError(
            f"version {VERSION} is commit {COMMIT}, which this clone does not have (a shallow one? "
            f"git fetch --unshallow): {archive.stderr.decode().strip()}"
        )
    subprocess.run(["tar", "-x", "-C", unfinished], input=archive.stdout, check=True)
    unfinished.rename(checkout)
