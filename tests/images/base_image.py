"""`python:3.11-slim`, made of Debian packages: what the container files start from, without a registry.

Debian 12 has that Python. Its paths differ from those of the image of the same name on Docker Hub (/usr,
where that has /usr/local); the container files ask the interpreter, and assume neither.
"""

from __future__ import annotations

import hashlib
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

from tests.controlplane.programs import Say
from tests.images.archives import appearing_whole, use
from tests.images.buildah import Store
from tests.images.errors import ImagesUnavailableError
from tests.images.registries import apt_configuration

REFERENCE = "docker.io/library/python:3.11-slim"
_SUITE = "bookworm"
_OPTIONS = (
    "--variant=apt",
    "--include=python3,libpython3.11-dev,python3-pip,python-is-python3,ca-certificates",
    *(f"--dpkgopt=path-exclude=/usr/share/{folder}/*" for folder in ("doc", "man", "locale", "info")),
    # Docker Hub's image lets pip install, and its apt knows nothing of this machine's proxies.
    '--customize-hook=rm "$1"/usr/lib/python3.11/EXTERNALLY-MANAGED',
    '--customize-hook=rm -f "$1"/etc/apt/apt.conf.d/99mmdebstrap',
)


def key() -> str:
    """A name that changes with what the base is made of."""
    return hashlib.sha256(repr((_SUITE, *_OPTIONS)).encode()).hexdigest()[:16]


def ensure(store: Store, cache: Path, say: Say, environment: Mapping[str, str]) -> None:
    """Puts the base into `store`; its packages are fetched once. Raises ImagesUnavailableError."""
    archive = cache / f"base-{key()}.tar"
    if not archive.exists():
        say(f"  {REFERENCE}: making it of Debian packages (about a minute, once)")
        began = time.monotonic()
        with appearing_whole(archive) as unfinished:
            _make(unfinished, store.scratch, environment)
        say(f"  {REFERENCE}: done in {time.monotonic() - began:.0f} s")
    use(archive)
    # By its key too: the store may hold one of another recipe under the common name.
    ours = f"localhost/base:{key()}"
    if not store.has(ours):
        store.import_root(archive, ours)
    store.tag(ours, REFERENCE)


def _make(target: Path, scratch: Path, environment: Mapping[str, str]) -> None:
    options = list(_OPTIONS)
    if configuration := apt_configuration(environment):
        (scratch / "apt.conf").write_text(configuration)
        options.append(f"--aptopt={scratch / 'apt.conf'}")
    mirror = environment.get("VANADIUM_DEBIAN_MIRROR")
    command = ["mmdebstrap", *options, _SUITE, str(target), *([mirror] if mirror else [])]
    made = subprocess.run(
        command, env={**environment, "TMPDIR": str(scratch)}, capture_output=True, text=True, check=False
    )
    if made.returncode != 0:
        tail = "\n".join((made.stdout + made.stderr).splitlines()[-20:])
        raise ImagesUnavailableError(
            f"mmdebstrap could not make {REFERENCE} (exit {made.returncode}); "
            f"VANADIUM_DEBIAN_MIRROR chooses another mirror than deb.debian.org. It said:\n{tail}"
        )
