"""Passphrases of `vkube principal`, typed on a real terminal."""

from __future__ import annotations

from pathlib import Path

import pytest

from blessings.directory import DirectoryPrincipal
from tests.terminals import on_a_terminal, without_a_terminal
from tests.vkube.command import PLAIN, called, vkube

WORDS = "correct horse battery"


@pytest.fixture(scope="module")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root whose passphrase was typed."""
    directory = tmp_path_factory.mktemp("sealed") / "root"
    prompts = [(f"Passphrase for {directory}: ", WORDS), ("Again: ", WORDS)]
    ended = on_a_terminal(["vkube", "principal", "create", directory, "acme"], prompts)
    assert (ended.code, ended.stdout, ended.stderr) == (0, f"made the root acme in {directory}\n", "")
    assert WORDS not in ended.screen
    return directory


def test_a_root_is_sealed_under_the_passphrase_that_was_typed_twice(sealed: Path) -> None:
    opened = DirectoryPrincipal.open(sealed, passphrase=WORDS.encode())
    assert opened.blessings.default is not None
    assert str(opened.blessings.default.presented) == "acme"
    assert DirectoryPrincipal.is_sealed(sealed)


def test_what_a_sealed_key_is_needed_for_asks_on_the_terminal_and_not_in_the_pipe(sealed: Path) -> None:
    prompt = [(f"Passphrase of {sealed}: ", WORDS)]
    ended = on_a_terminal(
        ["vkube", "principal", "dump"], prompt, stdin="piped\n", V23_CREDENTIALS=str(sealed)
    )
    assert ended.code == 0, ended.stderr
    assert "DEFAULT:   acme until" in ended.stdout
    wrong = on_a_terminal(["vkube", "principal", "dump", sealed], [(prompt[0][0], "wrong")])
    assert (wrong.code, wrong.stdout) == (1, "")
    assert "the passphrase is wrong" in wrong.stderr
    nothing = on_a_terminal(["vkube", "principal", "dump", sealed], [(prompt[0][0], "")])
    assert "an empty passphrase seals nothing" in nothing.stderr


def test_attack_without_a_terminal_no_pipe_is_taken_for_a_passphrase(sealed: Path, tmp_path: Path) -> None:
    ended = without_a_terminal(["vkube", "principal", "dump", sealed], stdin=f"{WORDS}\n")
    assert (ended.code, ended.stdout) == (2, "")
    assert ended.stderr == (
        f"vkube: there is no terminal to ask for a passphrase: the key in {sealed} is sealed; name "
        "--passphrase-file\n"
    )
    new = tmp_path / "new"
    ended = without_a_terminal(["vkube", "principal", "create", new, "acme"], stdin=f"{WORDS}\n{WORDS}\n")
    assert ended.code == 2
    assert "name --passphrase-file; or --with-passphrase=false" in ended.stderr
    assert not new.exists()


def test_two_different_passphrases_make_nothing(tmp_path: Path) -> None:
    new = tmp_path / "new"
    prompts = [("Passphrase for", WORDS), ("Again: ", "another")]
    ended = on_a_terminal(["vkube", "principal", "create", new], prompts)
    assert ended.code == 1
    assert "the two passphrases differ; nothing was made" in ended.stderr
    assert not new.exists()


def test_a_wrong_name_or_directory_is_told_before_a_passphrase_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert "is not empty" in vkube("principal", "create", tmp_path, "acme", ends=1)
    assert "must be lower case" in vkube("principal", "create", tmp_path / "new", "Acme", ends=1)
    both = ["--with-passphrase=false", "--passphrase-file", tmp_path / "file"]
    assert "contradicts --passphrase-file" in vkube("principal", "create", tmp_path / "new", *both, ends=2)


def test_v23_credentials_are_the_principal_of_every_command_that_names_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, alice = tmp_path / "root", tmp_path / "alice"
    vkube("principal", "create", PLAIN, root, "acme")
    vkube("principal", "create", PLAIN, alice)
    monkeypatch.delenv("V23_CREDENTIALS", raising=False)
    assert "or $V23_CREDENTIALS" in vkube("principal", "dump", ends=2)
    (tmp_path / "alice.pub").write_text(vkube("principal", "public-key", alice))
    monkeypatch.setenv("V23_CREDENTIALS", str(root))
    # An option between the arguments does not change which one was left out.
    caveats = ["--expires", "2126-01-01", "--method", "Get"]
    blessed = vkube("principal", "bless", tmp_path / "alice.pub", "--days", 3, "alice", *caveats)
    (tmp_path / "alice.pem").write_text(blessed)
    assert blessed.startswith("-----BEGIN")
    monkeypatch.setenv("V23_CREDENTIALS", str(alice))
    assert f"{alice} presents acme:alice until" in vkube("principal", "set-default", tmp_path / "alice.pem")
    shown = vkube("principal", "dump").splitlines()
    assert shown[1].startswith("DEFAULT:   acme:alice until")
    assert shown[2:] == [
        'CAVEAT:    of acme:alice: {"kind": "expiry", "at": "2126-01-01T00:00:00Z"}',
        'CAVEAT:    of acme:alice: {"kind": "methods", "methods": ["Get"]}',
    ]
    named = called("principal", "bless", root, "--days", 3, tmp_path / "alice.pub", "bob")
    assert named.code == 0, named.stderr
