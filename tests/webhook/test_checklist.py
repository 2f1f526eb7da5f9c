"""docs/webhook-checklist.md has each line of the checklist, and names tests that exist."""

from __future__ import annotations

import ast
import re
from functools import cache

from tests.checkout import CHECKOUT

DOCUMENT = (CHECKOUT / "docs" / "webhook-checklist.md").read_text()
ROWS = re.findall(r"^\| (\d+) \| (.+?) \| (.+) \|$", DOCUMENT, re.MULTILINE)
LINES = 21


@cache
def functions_of(file: str) -> set[str]:
    path = CHECKOUT / "tests" / file
    if not path.exists():
        return set()
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    return {node.name for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, functions)}


def test_each_line_of_the_checklist_names_the_tests_that_prove_it() -> None:
    assert [int(number) for number, _, _ in ROWS] == list(range(1, LINES + 1))
    missing = []
    for number, _, cell in ROWS:
        named = re.findall(r"`([\w/]+\.py)::(test_\w+)`", cell)
        assert named, number
        assert ", ".join(f"`{file}::{test}`" for file, test in named) == cell
        missing += [f"{number}: {file}::{test}" for file, test in named if test not in functions_of(file)]
    assert missing == []
