"""The product's images: their names in vkube.cfg, their container files, and the tool that builds them.

Pure but for `usable_tool`.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vkube.configuration import Configuration
from vkube.errors import ConfigurationError, UsageError, VkubeError

TOOLS = ("docker", "podman", "buildah")
PARTS = ("cluster-agent", "pod-agent", "webhook")
_CONTAINER_FILES = Path("deploy") / "images"
_UNPUBLISHED = "vanadium/"


@dataclass(frozen=True)
class Image:
    """One image: the reference that vkube.cfg has, and the container file within the sources."""

    reference: str
    container_file: Path


def images(configuration: Configuration) -> list[Image]:
    """The three images. Raises ConfigurationError where one is named by a digest."""
    references = (
        configuration.cluster_agent.image,
        configuration.pod_agent.image,
        configuration.webhook_image,
    )
    for reference in references:
        if "@" in reference:
            raise ConfigurationError(
                f"{reference} has a digest, which follows from the content: nothing can be built under it. "
                "Give it a tag: vkube update-config --tag TAG"
            )
    return [
        Image(reference, _CONTAINER_FILES / f"{part}.Containerfile")
        for part, reference in zip(PARTS, references, strict=True)
    ]


def sources(given: Path | None) -> Path:
    """The checkout to build from: the given one, the current directory, or where vkube runs from.

    Raises UsageError.
    """
    candidates = [given] if given else [Path.cwd(), Path(__file__).parents[1]]
    for one in candidates:
        if (one / _CONTAINER_FILES / "webhook.Containerfile").is_file():
            return one
    raise UsageError(
        f"{candidates[0]} is no checkout of Vanadium Cluster (it has no {_CONTAINER_FILES}): name one with "
        "--source"
    )


def check_published(images: Sequence[Image]) -> None:
    """Raises ConfigurationError for an image that names no registry of the user's."""
    for one in images:
        if one.reference.startswith(_UNPUBLISHED):
            raise ConfigurationError(
                f"{one.reference} names no registry of yours: vkube update-config --registry REGISTRY"
            )


def usable_tool(chosen: str | None) -> str:
    """The chosen program, or the first that works here. Raises VkubeError, which names what each lacks."""
    problems = []
    for tool in [chosen] if chosen else TOOLS:
        problem = _problem(tool)
        if problem is None:
            return tool
        problems.append(problem)
    raise VkubeError(
        f"no program here builds images: {'; '.join(problems)}. Install one of {', '.join(TOOLS)}"
    )


def build_command(tool: str, image: Image, source: Path, further: Sequence[str]) -> list[str]:
    """The command line that builds the image."""
    file = str(source / image.container_file)
    return [tool, "build", "--file", file, "--tag", image.reference, *further, str(source)]


def push_command(tool: str, image: Image, further: Sequence[str]) -> list[str]:
    """The command line that pushes the image."""
    return [tool, "push", *further, image.reference]


def _problem(tool: str) -> str | None:
    if shutil.which(tool) is None:
        return f"there is no {tool} on PATH"
    if tool == "docker":
        # The client alone builds nothing.
        asked = subprocess.run([tool, "version"], capture_output=True, text=True, check=False)
        if asked.returncode != 0:
            said = asked.stderr.strip().splitlines()
            return f"docker does not work here ({said[-1] if said else f'exit {asked.returncode}'})"
    return None
