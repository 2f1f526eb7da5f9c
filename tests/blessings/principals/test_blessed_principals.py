"""One interface, wherever a principal is kept; and how it is kept in a directory."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from blessings import (
    WITH_DELEGATION,
    BlessedPrincipal,
    Blessing,
    BlessingStore,
    CannotBless,
    Expiry,
    InvalidKey,
    InvalidStore,
    KeyKind,
    MemoryPrincipal,
    Name,
    Pattern,
    Principal,
    Roots,
    directory,
    verify_blessing,
    verify_signature,
)
from blessings.directory import DirectoryPrincipal
from tests.blessings.forging import certificate, subject_of
from tests.chains import HOUR, NOW, YEAR, realm

ONE = realm()
LAPTOP = Name.parse("alice:laptop")


@pytest.fixture(params=["memory", "directory", "encrypted directory"])
def principal(request: pytest.FixtureRequest, tmp_path: Path) -> BlessedPrincipal:
    if request.param == "memory":
        return MemoryPrincipal(Principal.create())
    passphrase = b"correct horse" if request.param == "encrypted directory" else None
    return DirectoryPrincipal.create(tmp_path / "alice", passphrase=passphrase)


def test_a_new_principal_presents_nothing_and_recognises_nobody(principal: BlessedPrincipal) -> None:
    assert principal.blessings == BlessingStore()
    assert principal.roots == Roots(())
    with pytest.raises(CannotBless, match="no default blessing"):
        principal.bless(Principal.create().public_key, "x", now=NOW, lifetime=HOUR)


def test_it_signs(principal: BlessedPrincipal) -> None:
    assert verify_signature(principal.public_key, b"message", principal.sign(b"message"))


def test_it_blesses_itself_and_others(principal: BlessedPrincipal) -> None:
    own = principal.bless_self(LAPTOP, now=NOW, lifetime=YEAR)
    roots = Roots.of(own.certificates[-1])
    assert verify_blessing(own, roots, now=NOW) == LAPTOP
    principal.set_blessings(BlessingStore(own))
    principal.set_roots(roots)
    phone = principal.bless(
        Principal.create().public_key, "phone", now=NOW, lifetime=HOUR, caveats=[Expiry(NOW + HOUR)]
    )
    name = verify_blessing(phone, principal.roots, now=NOW, policy=WITH_DELEGATION)
    assert str(name) == "alice:laptop:phone"
    root = Blessing(own.certificates[-1:])
    leaf = principal.bless(Principal.create().public_key, "tablet", now=NOW, lifetime=HOUR, blessing=root)
    assert leaf.is_svid
    assert str(verify_blessing(leaf, roots, now=NOW)) == "alice:tablet"


def test_a_root_alone_is_no_name_to_bless_oneself_with(principal: BlessedPrincipal) -> None:
    with pytest.raises(CannotBless, match="root alone"):
        principal.bless_self(Name.parse("alice"), now=NOW, lifetime=HOUR)


def test_it_presents_no_blessing_of_another_key(principal: BlessedPrincipal) -> None:
    with pytest.raises(InvalidKey):
        principal.set_blessings(BlessingStore(ONE.blessing))
    assert principal.blessings == BlessingStore()


def test_it_blesses_with_nothing_that_is_malformed(principal: BlessedPrincipal) -> None:
    made = certificate(ONE.root.principal, subject_of("acme"), principal.public_key, ca=None)
    with pytest.raises(CannotBless, match="profile"):
        principal.bless(principal.public_key, "x", now=NOW, lifetime=HOUR, blessing=Blessing((made,)))


def test_the_narrowest_pattern_chooses() -> None:
    key = Principal.create()
    default, everybody, acme, web, exact = (
        ONE.application.bless(key.public_key, name, now=NOW, lifetime=HOUR) for name in "abcde"
    )
    store = BlessingStore(default)
    assert store.choose([Name.parse("acme")]) == default
    store = (
        store.with_peer(Pattern.parse("acme:web:$"), exact)
        .with_peer(Pattern.parse("..."), everybody)
        .with_peer(Pattern.parse("acme"), acme)
        .with_peer(Pattern.parse("acme:web"), web)
    )
    for peers, expected in (
        ([], default),
        (["other"], everybody),
        (["acme"], acme),
        (["acme:website"], acme),
        (["acme:web"], exact),
        (["acme:web:x"], web),
        (["other", "acme:web:x"], web),
    ):
        assert store.choose(map(Name.parse, peers)) == expected
    assert store.with_peer(Pattern.parse("acme:web"), None).choose([Name.parse("acme:web:x")]) == acme
    assert store.with_default(None).choose() is None
    assert BlessingStore.from_json(store.to_json()) == store
    assert MemoryPrincipal(key, store, ONE.roots).blessings == store


@pytest.mark.parametrize("kind", list(KeyKind))
@pytest.mark.parametrize("passphrase", [None, b"correct horse"])
def test_a_directory_keeps_everything(tmp_path: Path, kind: KeyKind, passphrase: bytes | None) -> None:
    made = DirectoryPrincipal.create(tmp_path / "a", kind=kind, passphrase=passphrase)
    own = made.bless_self(LAPTOP, now=NOW, lifetime=YEAR)
    made.set_blessings(BlessingStore(own).with_peer(Pattern.parse("acme"), own))
    made.set_roots(ONE.roots)
    again = DirectoryPrincipal.open(tmp_path / "a", passphrase=passphrase)
    assert again.public_key == made.public_key
    assert again.blessings == made.blessings
    assert again.roots == ONE.roots
    assert again.principal.public_key == made.public_key
    secret = made.principal.to_pem().splitlines()[1]
    readable = any(secret in file.read_bytes() for file in (tmp_path / "a").iterdir())
    assert readable is (passphrase is None)


def test_its_modes_are_narrow_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        made = DirectoryPrincipal.create(tmp_path / "a")
        made.set_roots(ONE.roots)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o700
    files = sorted((tmp_path / "a").iterdir())
    assert [file.name for file in files] == ["blessings.json", "key.pem", "roots.json"]
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}


@pytest.mark.parametrize(("given", "needed"), [(None, b"right"), (b"wrong", b"right"), (b"right", None)])
def test_a_wrong_passphrase_is_told(tmp_path: Path, given: bytes | None, needed: bytes | None) -> None:
    DirectoryPrincipal.create(tmp_path / "a", passphrase=needed)
    with pytest.raises(InvalidKey, match=r"key\.(pem|json)"):
        DirectoryPrincipal.open(tmp_path / "a", passphrase=given)


def expose_directory(path: Path) -> None:
    path.chmod(0o750)


def expose_key(path: Path) -> None:
    (path / "key.pem").chmod(0o640)


def give_key_away(path: Path) -> None:
    os.chown(path / "key.pem", 12345, -1)


def link_key(path: Path) -> None:
    (path / "key.pem").rename(path / "elsewhere")
    (path / "key.pem").symlink_to(path / "elsewhere")


def pipe_for_key(path: Path) -> None:
    (path / "key.pem").unlink()
    os.mkfifo(path / "key.pem", 0o600)


def remove_key(path: Path) -> None:
    (path / "key.pem").unlink()


def second_key(path: Path) -> None:
    (path / "key.json").write_bytes(b"{}")


def write(name: str, text: str) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        (path / name).write_text(text)

    return damage


def blessing_of_another_key(path: Path) -> None:
    store = BlessingStore(ONE.blessing)
    (path / "blessings.json").write_bytes(directory._spell(store.to_json()))


DAMAGES = [
    expose_directory,
    expose_key,
    give_key_away,
    link_key,
    pipe_for_key,
    remove_key,
    second_key,
    write("blessings.json", ""),
    write("blessings.json", "[" * 100_000),
    write("blessings.json", "[]"),
    write("blessings.json", '{"version": 2}'),
    write("blessings.json", '{"version": 1}'),
    write("blessings.json", '{"version": 1, "default": 7, "forPeers": []}'),
    write("blessings.json", '{"version": 1, "default": "", "forPeers": []}'),
    write("blessings.json", '{"version": 1, "default": null, "forPeers": [7]}'),
    write("roots.json", "[]"),
    write("roots.json", '{"version": 1}'),
    write("roots.json", '{"version": 1, "roots": [7]}'),
    write("roots.json", '{"version": 1, "roots": [{"certificate": "", "pattern": "acme"}]}'),
    write("roots.json", " " * (directory.MAX_FILE_BYTES + 1)),
    blessing_of_another_key,
]


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_exposed_or_damaged_is_not_opened(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    path = tmp_path / "a"
    DirectoryPrincipal.create(path)
    damage(path)
    with pytest.raises(InvalidStore, match=str(path)):
        DirectoryPrincipal.open(path)


def test_a_directory_that_is_not_there_or_not_empty_is_told(tmp_path: Path) -> None:
    with pytest.raises(InvalidStore, match="not a principal's directory"):
        DirectoryPrincipal.open(tmp_path / "a")
    (tmp_path / "file").touch()
    tmp_path.chmod(0o700)
    with pytest.raises(InvalidStore, match="not empty"):
        DirectoryPrincipal.create(tmp_path)


def test_a_file_that_cannot_be_written_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = DirectoryPrincipal.create(tmp_path / "a")
    before = (tmp_path / "a" / "roots.json").read_bytes()

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        made.set_roots(ONE.roots)
    assert (tmp_path / "a" / "roots.json").read_bytes() == before
    assert len(list((tmp_path / "a").iterdir())) == 3
    assert made.roots == Roots(())
