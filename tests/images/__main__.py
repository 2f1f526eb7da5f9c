"""`build` and `sizes`; see the package."""

from __future__ import annotations

import argparse
import sys

from tests.images.archives import sizes
from tests.images.errors import ImagesUnavailableError
from tests.images.images import images


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.images")
    parser.add_argument("command", choices=("build", "sizes"))
    command = parser.parse_args().command
    try:
        built = images(lambda line: print(line, file=sys.stderr, flush=True))
    except ImagesUnavailableError as error:
        sys.exit(f"the images cannot be built: {error}")
    if command == "build":
        for reference, archive in built.items():
            print(reference, archive)
        return
    print(f"{'image':40} {'pulled':>9} {'unpacked':>9}")
    for reference, archive in built.items():
        measured = sizes(archive)
        print(f"{reference:40} {measured.compressed / 1e6:6.1f} MB {measured.unpacked / 1e6:6.1f} MB")


if __name__ == "__main__":
    main()
