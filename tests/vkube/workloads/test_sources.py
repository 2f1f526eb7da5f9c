"""What is read of manifests, and how it is told that there is nothing to read."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.vkube.command import vkube
from vkube.errors import ManifestError
from vkube.workloads.sources import documents

OFFLINE = "--default-settings"


@pytest.mark.parametrize(
    "content", ["", "# a comment\n", "---\n---\n", "kind: List\napiVersion: v1\nitems: []\n"]
)
def test_a_source_without_a_manifest_is_told(tmp_path: Path, content: str) -> None:
    """As kubectl does: what was to write it may have failed, and a pipeline must not go on."""
    file = tmp_path / "d.yaml"
    file.write_text(content)
    assert vkube("inject", "-f", file, OFFLINE, ends=1) == f"vkube: there is no manifest in {file}\n"


def test_an_empty_file_beside_another_is_nothing_to_tell(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("")
    (tmp_path / "b.yaml").write_text("kind: B\n")
    assert len(list(documents([str(tmp_path)]))) == 1


@pytest.mark.parametrize(
    ("content", "place", "why"),
    [
        ("a: [1\nb: }\n", "line 2, column 2", "expected ',' or ']', but got ':'"),
        ("kind: Pod\nmetadata:\n\tname: x\n", "line 3, column 1",
         r"found character '\t' that cannot start any token"),
        ("a: *none\n", "line 1, column 4", "found undefined alias 'none'"),
        ("a: \x00\n", "position 4", "special characters are not allowed"),
    ],
)  # fmt: skip
def test_a_parsers_error_is_one_line_with_file_line_and_column(
    tmp_path: Path, content: str, place: str, why: str
) -> None:
    file = tmp_path / "d.yaml"
    file.write_text(content)
    with pytest.raises(ManifestError) as told:
        list(documents([str(file)]))
    assert str(told.value) == f"cannot read {file}, {place}: {why}"
