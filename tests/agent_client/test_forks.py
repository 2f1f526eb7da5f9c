"""A program that forks when it has its identity, as a server that loads before it makes workers."""

from __future__ import annotations

import os
import signal
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from agent_client import ListFile, PeerLists, peer_lists
from agent_client.process_lock import ProcessLock
from blessings import Name, RevocationLists
from tests.agent_client.test_identity_files import Server, Volume
from tests.chains import realm
from tests.pod_agent.published_lists import REALM, signed
from tests.waiting import PATIENCE_SECONDS

APPLICATION = REALM.application


def ends_in_child(work: Callable[[], object]) -> bool:
    """Whether `work` comes to an end in a forked process, and without an exception."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # this is what the test is about
        child = os.fork()
    if child == 0:
        status = 1
        try:
            work()
            status = 0
        finally:
            if status:
                traceback.print_exc()
            os._exit(status)
    until = time.monotonic() + PATIENCE_SECONDS
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status) == 0
        if time.monotonic() > until:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return False
        time.sleep(0.01)


@contextmanager
def held(lock: ProcessLock) -> Iterator[None]:
    """Another thread is behind the lock."""
    inside, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with lock:
            inside.set()
            leave.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    inside.wait()
    try:
        yield
    finally:
        leave.set()
        thread.join()


def issuer_lists(source: ListFile | PeerLists) -> Callable[[], object]:
    key = APPLICATION.principal.public_key
    return lambda: source.by_issuer(REALM.blessing.leaf.issuer.public_bytes(), APPLICATION.name, key)


@pytest.mark.parametrize("kind", ["identity", "list-file", "peer-lists", "asked-beside"])
def test_a_child_waits_for_no_thread_that_only_its_parent_has(kind: str, tmp_path: Path) -> None:
    volume = Volume(tmp_path / "identity")
    volume.rotate(realm())
    files = volume.files()
    (tmp_path / "web.crl").write_bytes(signed(1))
    list_file = ListFile(tmp_path / "web.crl")
    lists, beside = PeerLists(Server()), PeerLists(Server(), ask_every_seconds=15)
    work, lock = {
        "identity": (files.identity, files._lock),
        "list-file": (issuer_lists(list_file), list_file._lock),
        "peer-lists": (issuer_lists(lists), lists._lock),
        "asked-beside": (issuer_lists(beside), beside._lock),
    }[kind]
    with held(lock):
        assert ends_in_child(work)


def test_a_fork_by_the_thread_that_has_the_lock_leaves_the_child_a_usable_one() -> None:
    lock = ProcessLock()
    parent = os.getpid()

    def use() -> None:
        with lock:
            pass

    def leave() -> None:
        assert os.getpid() != parent
        lock.__exit__(None, None, None)
        use()

    with lock:
        assert ends_in_child(leave)
    use()


def test_a_child_asks_itself_what_its_parent_is_asking_at_the_fork(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peer_lists, "MOST_WAIT_SECONDS", 0.05)
    server, answers = Server(), threading.Event()
    ask, parent = server.revocation_lists_since, os.getpid()

    def late(application: Name, version: str | None) -> tuple[str, RevocationLists] | None:
        assert os.getpid() != parent or answers.wait(PATIENCE_SECONDS)
        return ask(application, version)

    monkeypatch.setattr(server, "revocation_lists_since", late)
    found = issuer_lists(PeerLists(server, ask_every_seconds=15))

    def child() -> None:
        peer_lists.MOST_WAIT_SECONDS = PATIENCE_SECONDS
        assert found()

    try:
        assert not found()
        assert ends_in_child(child)
    finally:
        answers.set()
