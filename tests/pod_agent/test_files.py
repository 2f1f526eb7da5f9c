"""The identity as files: whole at every moment, for those who were chosen, and by one pod agent."""

from __future__ import annotations

import errno
import os
import ssl
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from blessings import Authority, Name, Principal, Root, Roots
from blessings.patterns import Pattern
from pod_agent.files import FilePlace, IdentityFiles, contents
from pod_agent.identity import CurrentIdentity, Identity
from pod_agent.swapped_directory import swap
from service.errors import SettingsError
from service.supervisor import Supervisor
from tests.clock import Clock
from tests.cluster_agents import RunningClusterAgent
from tests.pod_agent.running import TTL_SECONDS, eventually, mount, running_pod_agent, short_directory
from tests.waiting import PATIENCE_SECONDS, until

NAMES = ("ca.crt", "tls.crt", "tls.key", "tls.pem")
ROTATIONS = 100


class Rotated:
    """Files of one identity after the other, under a root of the test's."""

    def __init__(self, directory: Path, mode: int = 0o440, group: int | None = None) -> None:
        self.directory = directory
        self.clock = Clock()
        self.root = authority("acme", self.clock())
        self.current = CurrentIdentity(self.clock)
        self.files = IdentityFiles(FilePlace(directory, mode, group), self.current, self.clock)
        self.version = 0

    def identity(self) -> Identity:
        self.version += 1
        principal, now = Principal.create(), self.clock()
        blessing = self.root.bless(
            principal.public_key, "prod:shop:web:web-1", now=now, lifetime=timedelta(hours=1)
        )
        roots = Roots.of(self.root.certificate)
        return Identity(self.version, principal, blessing, blessing.presented, roots, now)

    async def rotate(self) -> Identity:
        identity = self.identity()
        await self.current.set(identity)
        await self.files.round()
        return identity

    def read(self) -> dict[str, bytes]:
        return {name: (self.directory / name).read_bytes() for name in NAMES}


def authority(name: str, now: datetime) -> Authority:
    return Authority.create_root(Name.parse(name), Principal.create(), now=now, lifetime=timedelta(days=1))


@pytest.fixture
def rotated(tmp_path: Path) -> Rotated:
    return Rotated(tmp_path)


async def test_the_files_contain_key_chain_and_roots(rotated: Rotated) -> None:
    identity = await rotated.rotate()
    files = rotated.read()
    assert files["tls.crt"] == identity.blessing.to_pem().encode()
    assert files["tls.key"] == identity.principal.to_pem()
    assert files["tls.pem"] == files["tls.key"] + files["tls.crt"]
    (root,) = x509.load_pem_x509_certificates(files["ca.crt"])
    assert root == rotated.root.certificate


async def test_new_roots_alone_are_written_too(rotated: Rotated) -> None:
    await rotated.rotate()
    before = rotated.read()
    other = authority("acme", rotated.clock())
    await rotated.current.set_roots(Roots.of(rotated.root.certificate) + Roots.of(other.certificate))
    await rotated.files.round()
    after = rotated.read()
    assert len(x509.load_pem_x509_certificates(after.pop("ca.crt"))) == 2
    assert after == {name: before[name] for name in after}


async def test_a_change_that_is_not_in_the_files_does_not_touch_them(rotated: Rotated) -> None:
    identity = await rotated.rotate()
    before = (rotated.directory / "updated").read_text()
    rotated.clock.turn(minutes=1)
    await rotated.current.set(replace(identity, version=2))
    await rotated.files.round()
    assert (rotated.directory / "updated").read_text() == before


def test_attack_a_federated_root_and_one_for_a_part_of_a_domain_are_not_in_the_files(
    rotated: Rotated,
) -> None:
    """Plain verifiers would accept every name from them."""
    identity, now = rotated.identity(), rotated.clock()
    narrow = Root(authority("acme", now).certificate, Pattern.parse("acme:prod"))
    more = Roots.of(authority("umbrella", now).certificate) + Roots((narrow,))
    with_more = Identity(**{**vars(identity), "roots": identity.roots + more})
    assert contents(with_more)["ca.crt"] == contents(identity)["ca.crt"]


def fits(key: bytes, chain: bytes) -> bool:
    public = load_pem_private_key(key, None).public_key()
    return x509.load_pem_x509_certificates(chain)[0].public_key() == public


def version_of(directory: Path) -> str:
    return (directory / "..data").readlink().name


async def test_a_reader_never_sees_a_key_and_a_chain_that_do_not_fit(rotated: Rotated) -> None:
    await rotated.rotate()
    done, seen, torn = threading.Event(), set(), []

    def read() -> None:
        while not done.is_set():
            version = rotated.directory / version_of(rotated.directory)
            seen.add(version.name)
            whole = (rotated.directory / "tls.pem").read_bytes()
            try:
                ssl.create_default_context().load_cert_chain(version / "tls.crt", version / "tls.key")
            except (ssl.SSLError, OSError) as error:
                torn.append(str(error))
            if not fits(whole, whole):
                torn.append("tls.pem")

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for _ in range(ROTATIONS):
            # Until the reader has begun to read the version before: each is read while it is replaced.
            before = version_of(rotated.directory)
            await until("a reading", lambda before=before: before in seen)  # type: ignore[misc]
            await rotated.rotate()
    finally:
        done.set()
        reader.join()
    assert torn == []
    assert len(seen) >= ROTATIONS


async def test_two_versions_are_kept_and_nothing_else(rotated: Rotated) -> None:
    (rotated.directory / "..left-by-a-killed-agent").mkdir()
    for _ in range(3):
        await rotated.rotate()
    versions = [one for one in rotated.directory.iterdir() if one.is_dir() and not one.is_symlink()]
    assert len(versions) == 2
    assert {one.name for one in rotated.directory.iterdir()} - {one.name for one in versions} == {
        *NAMES, "..data", "updated", ".lock",
    }  # fmt: skip


async def test_an_attempt_that_fails_leaves_the_files_and_nothing_else(rotated: Rotated) -> None:
    await rotated.rotate()
    before, entries = rotated.read(), set(rotated.directory.iterdir())
    with pytest.raises(FileNotFoundError):
        swap(
            rotated.directory,
            {"tls.key": b"key", "no/such": b""},
            mode=0o440,
            group=None,
            now=rotated.clock(),
        )
    assert (rotated.read(), set(rotated.directory.iterdir())) == (before, entries)


async def test_the_time_of_the_last_change_is_in_a_file_to_watch(rotated: Rotated) -> None:
    await rotated.rotate()
    touched = rotated.directory / "updated"
    first, inode = touched.read_text(), touched.stat().st_ino
    rotated.clock.turn(minutes=30)
    await rotated.rotate()
    assert datetime.fromisoformat(touched.read_text().strip()) == rotated.clock()
    assert touched.read_text() > first
    assert touched.stat().st_ino == inode  # a watch of the file itself stays


@pytest.mark.parametrize("mode", [0o400, 0o440, 0o444])
async def test_the_files_have_the_mode_and_the_group_that_were_chosen(tmp_path: Path, mode: int) -> None:
    group = os.getgid()
    rotated = Rotated(tmp_path, mode, group)
    await rotated.rotate()
    for name in NAMES:
        found = (tmp_path / name).stat()
        assert (stat.S_IMODE(found.st_mode), found.st_gid) == (mode, group)


async def test_without_a_group_the_files_have_that_of_a_directory_that_hands_it_down(tmp_path: Path) -> None:
    """As the volumes of a Pod with `fsGroup`."""
    others = [one for one in os.getgroups() if one != os.getgid()] or ([4242] if os.geteuid() == 0 else [])
    if not others:
        pytest.skip("this user has one group")
    os.chown(tmp_path, -1, others[0])
    os.chmod(tmp_path, 0o2777)  # noqa: S103 - as the kubelet makes it
    rotated = Rotated(tmp_path)
    await rotated.rotate()
    assert (tmp_path / "tls.key").stat().st_gid == others[0]


def errno_as(user: int, group: int, call: Callable[[], object]) -> int:
    """Why a process of that user and group alone cannot do it; 0 when it can."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    code = 255
    try:
        os.setgroups([])
        os.setgid(group)
        os.setuid(user)
        call()
        code = 0
    except OSError as error:
        code = error.errno or 255
    finally:
        os._exit(code)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become other users")
def test_attack_a_process_of_another_group_reads_the_files() -> None:
    agent, application, group, other_group = 58193, 10001, 10002, 10003
    now = datetime.now(UTC)
    with short_directory() as directory:
        directory.chmod(0o777)

        def write() -> None:
            swap(directory, {"tls.key": b"key"}, mode=0o440, group=group, now=now)

        def read() -> bytes:
            return (directory / "tls.key").read_bytes()

        assert errno_as(agent, group, write) == errno_as(agent, group, write) == 0
        assert errno_as(application, group, read) == 0
        assert errno_as(application, other_group, read) == errno.EACCES
        # A pod agent without the group cannot give its files to it.
        assert errno_as(agent, other_group, write) == errno.EPERM


def test_attack_a_link_in_the_place_of_the_lock_is_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    (tmp_path / ".lock").symlink_to(victim)
    with pytest.raises(SettingsError, match="cannot lock"):
        Rotated(tmp_path)
    assert not victim.exists()


async def test_a_pod_is_ready_when_its_files_are_there(rotated: Rotated) -> None:
    supervisor = Supervisor([rotated.files.task()])
    assert supervisor.problems() == ["the background task files has not worked yet"]
    async with supervisor.running():
        await rotated.current.set(rotated.identity())
        await until("ready", lambda: not supervisor.problems())
    assert set(rotated.read()) == set(NAMES)


@contextmanager
def running_with_files(agent: RunningClusterAgent, directory: Path, **settings: object) -> Iterator[Path]:
    files = directory / "files"
    files.mkdir()
    mount(directory, agent)
    with running_pod_agent(directory, agent.url, files_directory=files, **settings) as running:
        running.wait_until_blessed()
        yield files


@pytest.fixture
def with_files(cluster_agent: RunningClusterAgent, directory: Path) -> Iterator[Path]:
    with running_with_files(cluster_agent, directory) as files:
        yield files


def test_a_second_pod_agent_on_a_directory_refuses_and_the_first_serves_on(
    with_files: Path, cluster_agent: RunningClusterAgent
) -> None:
    for flag, directory in (
        ("--socket-directory", with_files.parent),
        ("--files-directory", with_files),
    ):
        other = with_files.parent / f"other{flag}"
        other.mkdir()
        settings = {"--socket-directory": other, "--files-directory": other, flag: directory}
        arguments = [f"{name}={value}" for name, value in settings.items()]
        second = subprocess.run(
            [sys.executable, "-m", "pod_agent", *arguments], capture_output=True, text=True, check=False,
            timeout=PATIENCE_SECONDS,
        )  # fmt: skip
        assert second.returncode == 2
        assert f"{flag}: another pod agent serves in {directory}" in second.stderr
    transport = httpx.HTTPTransport(uds=str(with_files.parent / "agent.sock"))
    with httpx.Client(transport=transport) as client:
        assert client.get("http://agent/v1/names").is_success


def test_the_files_of_the_program_follow_each_renewal(
    cluster_agent: RunningClusterAgent, directory: Path
) -> None:
    seen: set[int] = set()

    def have_changed_twice() -> bool:
        whole = (files / "tls.pem").read_bytes()
        assert fits(whole, whole)
        seen.add(x509.load_pem_x509_certificates(whole)[0].serial_number)
        return len(seen) >= 3

    with running_with_files(cluster_agent, directory, ttl_seconds=TTL_SECONDS) as files:
        eventually("two renewals", have_changed_twice)
