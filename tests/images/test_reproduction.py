"""Equal sources and an equal base give the same image, bit for bit, with labels that say what it is."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from tests.checkout import CHECKOUT
from tests.images.archives import configuration, digest
from tests.images.images import PYTHON_IMAGES, build_anew

BY_NAME = {image.name: image for image in PYTHON_IMAGES}


def test_a_build_from_nothing_gives_the_same_image(built_images: dict[str, Path], tmp_path: Path) -> None:
    """Of the pod agent, which every node pulls; `python -m tests.images reproduce` does it for each."""
    build_anew(BY_NAME["pod-agent"], tmp_path / "again.tar", print)
    assert digest(tmp_path / "again.tar") == digest(built_images["pod-agent"])


@pytest.mark.parametrize("name", sorted(BY_NAME))
def test_the_labels_state_what_the_image_is(built_images: dict[str, Path], name: str) -> None:
    labels = configuration(built_images[name])["Labels"]
    assert isinstance(labels, dict)
    own = {
        key.removeprefix("org.opencontainers.image."): value
        for key, value in labels.items()
        if key.startswith("org.opencontainers.image.")
    }
    assert own.keys() == {"title", "description", "version", "licenses"}
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    assert (own["version"], own["licenses"]) == (project["version"], project["license"])
    assert own["title"].startswith("Vanadium Cluster ")
    # Another builder's version would make another image of equal sources.
    assert set(labels) <= {f"org.opencontainers.image.{key}" for key in own} | {"io.buildah.version"}
