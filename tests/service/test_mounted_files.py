"""Files are read whole, or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from service.errors import UnreadableFile
from service.mounted_files import LONGEST_FILE_BYTES, digest, read
from tests.mounting import swap


def test_files_of_several_volumes_are_read_together(tmp_path: Path) -> None:
    swap(tmp_path / "one", {"tls.crt": b"chain"})
    swap(tmp_path / "other", {"tls.key": b"key"})
    files = (tmp_path / "one/tls.crt", tmp_path / "other/tls.key")
    assert read(files) == (b"chain", b"key")
    swap(tmp_path / "other", {"tls.key": b"another"})
    assert read(files) == (b"chain", b"another")


@pytest.mark.parametrize("changed", ["one", "other"])
def test_nothing_is_read_while_one_of_the_volumes_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changed: str
) -> None:
    for volume in ("one", "other"):
        swap(tmp_path / volume, {"file": b"old"})
    opened, changes = Path.open, [changed]

    def open_and_change(path: Path, mode: str) -> object:
        file = opened(path, mode)
        if changes:
            swap(tmp_path / changes.pop(), {"file": b"new"})
        return file

    monkeypatch.setattr(Path, "open", open_and_change)
    files = (tmp_path / "one/file", tmp_path / "other/file")
    assert read(files) is None
    assert sorted(read(files) or ()) == [b"new", b"old"]


def test_a_file_has_a_longest_size(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x" * LONGEST_FILE_BYTES)
    assert read([tmp_path / "file"]) == (b"x" * LONGEST_FILE_BYTES,)
    (tmp_path / "file").write_bytes(b"x" * (LONGEST_FILE_BYTES + 1))
    with pytest.raises(UnreadableFile, match="has more than 65536 bytes") as caught:
        read([tmp_path / "file"])
    assert caught.value.reason == "FileTooLarge"


def test_what_is_missing_or_no_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnreadableFile, match="absent is missing") as caught:
        read([tmp_path / "absent"])
    assert caught.value.reason == "FileMissing"
    with pytest.raises(UnreadableFile, match="cannot be read: Is a directory") as caught:
        read([tmp_path])
    assert caught.value.reason == "FileUnreadable"


def test_a_digest_knows_where_one_file_ends() -> None:
    assert digest((b"ab", b"c")) != digest((b"a", b"bc"))
