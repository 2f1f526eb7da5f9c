"""Writes the vectors anew: `python -m tests.vectors`. The same code writes the same bytes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.vectors import chains, forms, rejected

FOLDER = Path(__file__).parent / "v1"


def _chains() -> list[dict[str, Any]]:
    return [case.to_value() for case in (*chains.cases(), *rejected.cases())]


FILES: dict[str, Callable[[], list[dict[str, Any]]]] = {
    "names": forms.names,
    "patterns": forms.patterns,
    "access_lists": forms.access_lists,
    "caveats": forms.caveat_forms,
    "discharges": forms.discharges,
    "signatures": forms.signatures,
    "bundles": forms.bundles,
    "encodings": forms.encodings,
    "chains": _chains,
}


def text(file: str) -> str:
    """What the file of that name has to say."""
    return json.dumps({"version": 1, "vectors": FILES[file]()}, indent=1, ensure_ascii=True) + "\n"


def main() -> None:
    for file in FILES:
        (FOLDER / f"{file}.json").write_text(text(file))
        print(FOLDER / f"{file}.json")


if __name__ == "__main__":
    main()
