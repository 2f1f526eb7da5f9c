"""The bill of materials in each image names what the lock file installs and what Debian brings, and is valid
CycloneDX."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packaging.requirements import Requirement

from tests.checkout import CHECKOUT
from tests.images.archives import layers
from tests.images.images import PYTHON_IMAGES

BY_NAME = {image.name: image for image in PYTHON_IMAGES}
# The interpreter in the images.
_LINUX = {"python_version": "3.11", "python_full_version": "3.11.2", "sys_platform": "linux"}


@pytest.fixture(params=sorted(BY_NAME))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def files(built_images: dict[str, Path], name: str) -> dict[str, bytes]:
    """What the layer of libraries has of records."""
    (_, content), *_ = layers(built_images[name])
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        members = [one for one in tar if one.name.startswith(("usr/share/sbom/", "var/lib/dpkg/status.d/"))]
        opened = {one.name: tar.extractfile(one) for one in members}
        return {path: file.read() for path, file in opened.items() if file is not None}


def by_kind(bill: dict[str, Any], kind: str) -> set[tuple[str, str]]:
    found = (one for one in bill["components"] if one["purl"].startswith(f"pkg:{kind}/"))
    return {(one["name"], one["version"]) for one in found}


def locked(name: str) -> set[tuple[str, str]]:
    """What uv.lock has for the extras that the container file names."""
    text = (CHECKOUT / BY_NAME[name].container_file).read_text()
    (extras,) = re.findall(r"uv sync .*?((?: --extra [\w-]+)+)$", text, re.MULTILINE)
    uv = Path(sys.executable).with_name("uv")
    command = [uv, "export", "--quiet", "--frozen", "--no-default-groups", "--no-emit-project", "--no-hashes"]
    exported = subprocess.run(
        [*map(str, command), *extras.split()], capture_output=True, text=True, check=True, cwd=CHECKOUT
    ).stdout
    requirements = [Requirement(line) for line in exported.splitlines() if re.match(r"\w", line)]
    return {
        (one.name, str(one.specifier).removeprefix("=="))
        for one in requirements
        if one.marker is None or one.marker.evaluate(_LINUX)
    }


def test_it_is_valid_and_names_each_package_of_the_lock_file_and_of_debian(
    files: dict[str, bytes], name: str
) -> None:
    content = files[f"usr/share/sbom/{name}.cdx.json"].decode()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(content) is None
    bill = json.loads(content)
    assert bill["metadata"]["component"]["name"] == f"vanadium/{name}"
    assert by_kind(bill, "pypi") == locked(name)
    records = {path.rpartition("/")[2] for path in files if "status.d" in path}
    assert {package for package, _ in by_kind(bill, "deb")} == records
    assert {package for package, _ in by_kind(bill, "generic")} == {"python"}
    # Either would differ from build to build.
    assert "serialNumber" not in bill
    assert "timestamp" not in bill["metadata"]
