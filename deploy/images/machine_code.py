"""Compiles what answers an AdmissionReview to machine code, with mypyc:

    python machine_code.py CHECKOUT

That is most of the webhook's work. Beside each module that it takes, and in CHECKOUT itself, this writes an
extension module, which Python prefers to the source. Without it the same source runs, at half the speed.

It runs with the interpreter that is to load them, and needs mypy, setuptools and a C compiler.
"""

from __future__ import annotations

import ast
import contextlib
import shutil
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from mypyc.build import mypycify
from setuptools import setup

# From the bytes of a request to those of its answer; and all that these import of the webhook's own.
_BEGIN = ("arriving_request", "answers")
# Classes whose objects keep what they computed as an attribute, which those of a compiled class cannot; and
# what does nothing on the way of a request.
_INTERPRETED = frozenset({"sidecar", "once", "metrics", "shares"})
# Types of other packages are of no use here. They are not looked for, so that the result does not depend on
# what is installed.
_MYPY = ("--no-site-packages", "--ignore-missing-imports")


def main() -> None:
    checkout = Path(sys.argv[1]).resolve()
    # A directory of its own: nothing depends on where the checkout is, and its pyproject.toml is not read.
    with TemporaryDirectory() as directory, contextlib.chdir(directory):
        shutil.copytree(checkout / "webhook", "webhook")
        sources = [f"webhook/{name}.py" for name in sorted(_reached() - _INTERPRETED)]
        extensions = mypycify([*_MYPY, *sources], opt_level="3", debug_level="0", group_name="webhook")
        setup(
            name="machine-code",
            packages=[],
            ext_modules=extensions,
            script_args=["--quiet", "build_ext", "--build-lib", str(checkout)],
        )


def _reached() -> set[str]:
    """The modules of the webhook that are imported, by whatever way, from where it begins."""
    found: set[str] = set()
    waiting = list(_BEGIN)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += _imported(Path("webhook", f"{name}.py"))
    return found


def _imported(source: Path) -> list[str]:
    names = []
    for node in ast.walk(ast.parse(source.read_bytes())):
        if isinstance(node, ast.ImportFrom) and node.module == "webhook":
            names += [one.name for one in node.names]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("webhook."):
            names.append(str(node.module).removeprefix("webhook."))
    return names


if __name__ == "__main__":
    main()
