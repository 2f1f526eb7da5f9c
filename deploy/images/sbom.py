"""Writes an image's bill of materials (CycloneDX 1.6), within the build stage of its container file.

    python sbom.py NAME ENVIRONMENT ROOT

It names the image (with the version of pyproject.toml), the interpreter, each Python package of the virtual
environment ENVIRONMENT, which uv.lock determines, and each Debian package of which root.py recorded a file in
ROOT. The result is ROOT/usr/share/sbom/NAME.cdx.json, where scanners find it by its suffix. Equal inputs give
equal bytes: it has neither a time nor a serial number, both of which are optional.
https://cyclonedx.org/docs/1.6/json/
"""

from __future__ import annotations

import json
import os
import platform
import re
import sys
import tomllib
from collections.abc import Iterator
from email.parser import HeaderParser
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any

Component = dict[str, Any]


def main() -> None:
    name, environment, root = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    target = root / "usr/share/sbom" / f"{name}.cdx.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(bill(name, environment, root), indent=1, sort_keys=True) + "\n")
    for path in (target, *target.parents):
        if path.is_relative_to(root):
            os.utime(path, (0, 0))


def bill(name: str, environment: Path, root: Path) -> Component:
    version = tomllib.loads(Path("pyproject.toml").read_text())["project"]["version"]
    components = [_interpreter(), *_python_packages(environment), *_debian_packages(root)]
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "component": {
                "bom-ref": "image",
                "type": "container",
                "name": f"vanadium/{name}",
                "version": version,
                "licenses": [{"license": {"id": "Apache-2.0"}}],
            }
        },
        "components": sorted(components, key=lambda one: str(one["purl"])),
        "dependencies": [{"ref": "image", "dependsOn": sorted(one["purl"] for one in components)}],
    }


def _component(purl: str, **values: Any) -> Component:
    return {"bom-ref": purl, "purl": purl, **values}


def _interpreter() -> Component:
    version = platform.python_version()
    return _component(
        f"pkg:generic/python@{version}",
        type="platform",
        name="python",
        version=version,
        cpe=f"cpe:2.3:a:python:python:{version}:*:*:*:*:*:*:*",
    )


def _python_packages(environment: Path) -> Iterator[Component]:
    (packages,) = (environment / "lib").glob("python3.*/site-packages")
    for one in distributions(path=[str(packages)]):
        name = re.sub(r"[-_.]+", "-", one.metadata["Name"]).lower()
        component = _component(
            f"pkg:pypi/{name}@{one.version}", type="library", name=name, version=one.version
        )
        if stated := _license(one):
            component["licenses"] = [stated]
        yield component


def _license(distribution: Distribution) -> Component | None:
    """As the package states it: an SPDX expression, else one short line."""
    if expression := distribution.metadata["License-Expression"]:
        return {"expression": expression}
    stated = (distribution.metadata["License"] or "").strip()
    return {"license": {"name": stated}} if stated and "\n" not in stated else None


def _debian_packages(root: Path) -> Iterator[Component]:
    release = dict(re.findall(r'^(\w+)="?([^"\n]*)"?$', (root / "etc/os-release").read_text(), re.MULTILINE))
    for record in (root / "var/lib/dpkg/status.d").iterdir():
        fields = HeaderParser().parsestr(record.read_text())
        name, version = fields["Package"], fields["Version"]
        where = f"arch={fields['Architecture']}&distro=debian-{release['VERSION_ID']}"
        purl = f"pkg:deb/debian/{name}@{version.replace('+', '%2B').replace(':', '%3A')}?{where}"
        yield _component(purl, type="library", name=name, version=version)


if __name__ == "__main__":
    main()
