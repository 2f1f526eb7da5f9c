"""The same tests of what answers reviews, of the code that the image runs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.checkout import CHECKOUT

# Those of what is compiled.
_TESTS = (
    *(
        f"tests/webhook/test_{name}.py"
        for name in (
            "admission",
            "annotations",
            "body",
            "clashes",
            "connections",
            "delivery",
            "ephemeral",
            "files",
            "idempotence",
            "injection",
            "memory",
            "meshes",
            "namespace_defaults",
            "pod_agent_container",
            "policy",
            "quality_of_service",
            "volume_support",
        )
    ),
    "tests/fuzz/test_reviews.py::test_mutants_of_reviews_are_answered_by_the_pure_function",
)
# Of a package that is loaded already, every module is looked for where that one is.
_RUN = """
import sys, pytest
sys.path.insert(0, sys.argv[1])
import webhook.answers, webhook.admission, webhook.arriving_request
for module in (webhook.answers, webhook.admission, webhook.arriving_request):
    assert module.__file__.startswith(sys.argv[1]) and not module.__file__.endswith(".py"), module.__file__
del sys.path[0]
sys.exit(pytest.main(sys.argv[2:]))
"""


def test_compiled_it_passes_the_tests_that_it_passes_as_source(machine_code: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _RUN, str(machine_code), "-q", "-n0", "-p", "no:cacheprovider", *_TESTS],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr
    assert " passed" in done.stdout.splitlines()[-1]
    assert "skipped" not in done.stdout.splitlines()[-1]
