"""`build`, `sizes` and `reproduce`; see the package."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from tests.images.archives import digest, sizes
from tests.images.errors import ImagesUnavailableError
from tests.images.images import PYTHON_IMAGES, build_anew, images


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.images")
    parser.add_argument("command", choices=("build", "sizes", "reproduce"))
    command = parser.parse_args().command
    try:
        built = images(_say)
    except ImagesUnavailableError as error:
        sys.exit(f"the images cannot be built: {error}")
    if command == "build":
        for reference, archive in built.items():
            print(reference, archive)
        return
    if command == "reproduce":
        sys.exit(_reproduce(built))
    print(f"{'image':40} {'pulled':>9} {'unpacked':>9}")
    for reference, archive in built.items():
        measured = sizes(archive)
        print(f"{reference:40} {measured.compressed / 1e6:6.1f} MB {measured.unpacked / 1e6:6.1f} MB")


def _reproduce(built: dict[str, Path]) -> int:
    """Returns how many images are others when they are built anew."""
    others = 0
    for image in PYTHON_IMAGES:
        with tempfile.TemporaryDirectory() as directory:
            again = Path(directory) / "again.tar"
            build_anew(image, again, _say)
            first, second = digest(built[image.reference]), digest(again)
        others += first != second
        print(image.reference, first, "again" if first == second else f"then {second}", flush=True)
    return others


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
