"""Coverage-guided fuzzing of the library's parsers, with atheris (libFuzzer).

    python -m tests.fuzz NAME [--seconds 60 | --runs 20000]     # NAME of a parser, or `all` of them in turn

It begins with the golden vectors and former crashes. What crashes a target is written to tests/fuzz/crashes,
and is from then on a test. Needs `uv sync --group fuzz`, on Linux on x86-64.
"""

from __future__ import annotations

import argparse
import importlib
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

FOLDER = Path(__file__).parent


def main() -> None:
    description, _, details = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        description=description, epilog=details, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name")
    limit = parser.add_mutually_exclusive_group()
    limit.add_argument("--seconds", type=int, default=60)
    limit.add_argument("--runs", type=int)
    given = parser.parse_args()
    bound = f"-max_total_time={given.seconds}" if given.runs is None else f"-runs={given.runs}"
    if given.name == "all":
        sys.exit(_every(given.runs, given.seconds))
    _fuzz(given.name, bound)


def _every(runs: int | None, seconds: int) -> int:
    targets = importlib.import_module("tests.fuzz.targets").TARGETS
    limit = ["--seconds", str(seconds)] if runs is None else ["--runs", str(runs)]
    failed = []
    for name in targets:
        ran = subprocess.run(
            [sys.executable, "-m", "tests.fuzz", name, *limit], capture_output=True, text=True, check=False
        )
        # libFuzzer's last words: how much was covered, and how many runs there were.
        lines = [line for line in ran.stderr.splitlines() if "DONE" in line or line.startswith("Done")]
        print(f"{name:20} {' | '.join(' '.join(line.split()[:6]) for line in lines[-2:])}", flush=True)
        if ran.returncode:
            failed.append(name)
            print(ran.stdout[-3000:] + ran.stderr[-3000:], flush=True)
    print(f"findings in: {', '.join(failed)}" if failed else "no findings")
    return 1 if failed else 0


def _fuzz(name: str, bound: str) -> None:
    try:
        atheris = importlib.import_module("atheris")
    except ImportError as error:
        sys.exit(
            f"fuzzing needs atheris (Linux on x86-64, Python before 3.14): uv sync --group fuzz; {error}"
        )
    # What the library refuses with an error of its own, cryptography warns of as well.
    warnings.simplefilter("ignore")
    with atheris.instrument_imports(include=["blessings", "pod_agent"]):
        targets = importlib.import_module("tests.fuzz.targets").TARGETS
    seeds = importlib.import_module("tests.fuzz.seeds").seeds(name)
    with tempfile.TemporaryDirectory(prefix=f"fuzz-{name}-") as corpus:
        for position, seed in enumerate(seeds):
            (Path(corpus) / f"{position:04}").write_bytes(seed)
        artifacts = f"-artifact_prefix={FOLDER / 'crashes'}/{name}-"
        atheris.Setup([sys.argv[0], bound, artifacts, "-timeout=10", "-max_len=16384", corpus], targets[name])
        atheris.Fuzz()


if __name__ == "__main__":
    main()
