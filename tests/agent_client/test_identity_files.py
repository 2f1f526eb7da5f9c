"""A program whose identity the kubelet keeps in files: mutual TLS with replicas of both kinds, through
rotations, and revocation lists from the cluster agent itself or from a file."""

from __future__ import annotations

import os
import signal
import ssl
import subprocess
import threading
import tracemalloc
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from cryptography.hazmat.primitives.serialization import Encoding

from agent_client import (
    AgentClient,
    AgentError,
    ListFile,
    PeerLists,
    PublishedLists,
    peer_lists,
    published_lists,
)
from agent_client.identity_files import IdentityFiles
from agent_client.mutual_tls import MutualTLS
from blessings import (
    Blessing,
    Name,
    Policy,
    Principal,
    Reason,
    RevocationLists,
    VerificationError,
    WithoutList,
    verify_blessing,
)
from tests.agent_client.test_mutual_tls import WEB_1, WEB_2, call, echo, of
from tests.blessings.forging import LEAF_USAGE, certificate
from tests.blessings.test_bundles import foreign_root
from tests.chains import HOUR, NOW, Realm, realm
from tests.checkout import CHECKOUT
from tests.clock import Clock
from tests.cluster_agents import RunningClusterAgent, running_cluster_agent
from tests.pod_agent.published_lists import REALM, signed
from tests.pod_agent.running import mount, running_pod_agent, short_directory
from tests.waiting import PATIENCE_SECONDS, wait_for


class Volume:
    """A volume as the kubelet keeps it: links into `..data`, which is renamed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.versions = 0
        path.mkdir()

    def write(self, credential: str, roots: str, federated: Mapping[str, str] | None = None) -> None:
        self.versions += 1
        version = self.path / f"..{self.versions}"
        (version / "federated").mkdir(parents=True)
        for domain, content in (federated or {}).items():
            (version / "federated" / f"{domain}.crt").write_text(content)
        (version / "tls.pem").write_text(credential)
        (version / "ca.crt").write_text(roots)
        for name in ("tls.pem", "ca.crt", "federated"):
            link = self.path / name
            if not link.is_symlink():
                link.symlink_to(f"..data/{name}")
        beside = self.path / "..data_tmp"
        beside.symlink_to(version.name)
        beside.rename(self.path / "..data")

    def rotate(self, of: Realm, principal: Principal | None = None) -> Principal:
        """A new key, and its chain under the same application, unless another key's."""
        key = Principal.create()
        blessing = of.application.bless(key.public_key, "web-1", now=NOW, lifetime=HOUR)
        self.write((principal or key).to_pem().decode() + blessing.to_pem(), of.roots.to_pem())
        return key

    def files(self) -> IdentityFiles:
        return IdentityFiles(self.path / "tls.pem", self.path / "ca.crt", self.path / "federated")


@pytest.fixture
def volume(tmp_path: Path) -> Volume:
    return Volume(tmp_path / "identity")


def test_a_rotation_is_followed_and_without_one_the_identity_is_the_same_object(volume: Volume) -> None:
    web = realm()
    first = volume.rotate(web)
    files = volume.files()
    before = files.identity()
    assert before.principal.public_key == first.public_key
    assert before.blessing.presented == Name.parse(WEB_1)
    assert files.identity() is before
    second = volume.rotate(web)
    assert files.identity().principal.public_key == second.public_key


def test_a_pair_is_never_torn_however_often_the_kubelet_replaces_it(volume: Volume) -> None:
    web = realm()
    volume.rotate(web)
    files, ended = volume.files(), threading.Event()
    seen: set[bytes] = set()

    torn: set[bytes] = set()

    def read() -> None:
        while not ended.is_set():
            now = files.identity()
            if now.blessing.public_key != now.principal.public_key:
                torn.add(now.blessing.leaf_fingerprint)
            seen.add(now.blessing.leaf_fingerprint)

    reading = threading.Thread(target=read)
    reading.start()
    try:
        for rotation in range(100):
            # It reads while the files are replaced.
            wait_for("a reading", lambda rotation=rotation: len(seen) > rotation // 10)  # type: ignore[misc]
            volume.rotate(web)
    finally:
        ended.set()
        reading.join()
    assert torn == set()


def test_attack_a_key_of_another_certificate_is_not_used(volume: Volume) -> None:
    web = realm()
    volume.rotate(web, principal=Principal.create())
    with pytest.raises(AgentError, match="contains the key of another certificate"):
        volume.files()


@pytest.mark.parametrize("credential", ["", "-----BEGIN CERTIFICATE-----\nx\n", "x" * 2_000_000])
def test_files_that_cannot_be_used_change_nothing_until_they_can(volume: Volume, credential: str) -> None:
    web = realm()
    volume.rotate(web)
    files = volume.files()
    before = files.identity()
    volume.write(credential, web.roots.to_pem())
    assert files.identity() is before
    (volume.path / "..data").unlink()
    assert files.identity() is before
    after = volume.rotate(web)
    assert files.identity().principal.public_key == after.public_key


def test_a_root_without_a_name_is_left_out_and_alone_it_is_no_identity(volume: Volume) -> None:
    web = realm()
    unnamed = "-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----\n"
    credential = web.replica.to_pem().decode() + web.blessing.to_pem()
    volume.write(credential, unnamed + web.roots.to_pem())
    assert volume.files().identity().roots == web.roots
    volume.write(credential, unnamed)
    with pytest.raises(AgentError, match="no root with a name"):
        volume.files()


def test_a_federated_root_proves_names_of_the_trust_domain_of_its_file_until_that_is_empty(
    volume: Volume,
) -> None:
    web, partner, other = realm(), realm("partner"), realm("other")
    credential = web.replica.to_pem().decode() + web.blessing.to_pem()

    def proven(**federated: str) -> list[str]:
        """The names of peers that are proven when the volume has these files."""
        volume.write(credential, web.roots.to_pem(), federated)
        roots = files.identity().roots
        names = []
        for peer in (web, partner, other):
            try:
                names.append(str(verify_blessing(peer.blessing, roots, now=NOW)))
            except VerificationError:
                continue
        return names

    volume.rotate(web)
    files = volume.files()
    here, there = "acme:prod:shop:web:web-1", "partner:prod:shop:web:web-1"
    assert proven() == [here]
    assert proven(partner=partner.roots.to_pem()) == [here, there]
    # As it is when an administrator has removed the trust domain.
    assert proven(partner="") == [here]
    # What cannot be read is no reason to have no identity.
    assert proven(partner="none", other="-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----") == [
        here
    ]
    # A partner's bundle may contain any root.
    assert proven(partner=other.roots.to_pem() + web.roots.to_pem()) == [here]
    assert proven(acme=realm().roots.to_pem()) == [here]


def test_attack_a_federated_root_that_states_no_name_proves_none_of_another_trust_domain(
    volume: Volume,
) -> None:
    """Such as SPIRE's, whose subject is no name."""
    web, key = realm(), Principal.create()
    root = foreign_root(key)
    credential = web.replica.to_pem().decode() + web.blessing.to_pem()
    volume.write(credential, web.roots.to_pem(), {"partner": root.public_bytes(Encoding.PEM).decode()})
    roots = volume.files().identity().roots

    def svid(spiffe_id: str) -> Blessing:
        replica = Principal.create().public_key
        return Blessing((certificate(key, root.subject, replica, usage=LEAF_USAGE, uris=(spiffe_id,)),))

    assert str(verify_blessing(svid("spiffe://partner/web"), roots, now=NOW)) == "partner:web"
    for claimed in ("spiffe://acme/prod/shop/web/web-1", "spiffe://other/web"):
        with pytest.raises(VerificationError):
            verify_blessing(svid(claimed), roots, now=NOW)


def test_the_environment_names_the_files(volume: Volume) -> None:
    volume.rotate(realm())
    named = {
        "VANADIUM_CREDENTIAL_FILE": str(volume.path / "tls.pem"),
        "VANADIUM_ROOTS_FILE": str(volume.path / "ca.crt"),
    }
    files = IdentityFiles.of_environment(named)
    assert files is not None
    assert files.identity().blessing.presented == Name.parse(WEB_1)
    assert IdentityFiles.of_environment({}) is None
    partner = realm("partner")
    credential = partner.replica.to_pem().decode() + partner.blessing.to_pem()
    volume.write(credential, partner.roots.to_pem(), {"acme": realm().roots.to_pem()})
    assert len(files.identity().roots) == 1
    files = IdentityFiles.of_environment(
        {**named, "VANADIUM_FEDERATED_DIRECTORY": str(volume.path / "federated")}
    )
    assert files is not None
    assert len(files.identity().roots) == 2


@dataclass
class Fleet:
    """A replica of each kind, and the cluster agent."""

    agent: RunningClusterAgent
    by_files: MutualTLS
    by_sockets: MutualTLS
    files: IdentityFiles


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """`web-1` has its identity in files, as its pod agent writes them in the kubelet's layout; `web-2` by the
    sockets of its own."""
    with (
        running_cluster_agent(tmp_path_factory.mktemp("agent")) as agent,
        short_directory() as first,
        short_directory() as second,
    ):
        (first / "files").mkdir()
        mount(first, agent, "web-1")
        mount(second, agent, "web-2")
        with (
            running_pod_agent(
                first, agent.url, files_directory=first / "files", files_mode="0444"
            ) as with_files,
            running_pod_agent(second, agent.url) as with_sockets,
        ):
            with_files.wait_until_blessed()
            with_sockets.wait_until_blessed()
            files = IdentityFiles(first / "files" / "tls.pem", first / "files" / "ca.crt")
            with of(with_sockets) as by_sockets, MutualTLS(files=files) as by_files:
                yield Fleet(agent, by_files, by_sockets, files)


def test_replicas_of_both_kinds_call_each_other_by_name(fleet: Fleet) -> None:
    with echo(fleet.by_files.server()) as server:
        assert call(server.address, fleet.by_sockets.client())[:2] == (WEB_2, WEB_1)
    with echo(fleet.by_sockets.server()) as server:
        assert call(server.address, fleet.by_files.client())[:2] == (WEB_1, WEB_2)
        with pytest.raises(ssl.SSLCertVerificationError, match="expected acme:prod:bank"):
            call(server.address, fleet.by_files.client("acme:prod:bank"))


def test_lists_come_from_the_agent_that_is_given_or_from_the_address_in_the_environment(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    with AgentClient("/nowhere") as agent, MutualTLS(files=fleet.files, agent=agent) as tls:
        assert isinstance(tls.policy.revocation, PeerLists)
    assert not isinstance(fleet.by_files.policy.revocation, PeerLists)
    monkeypatch.setenv("VANADIUM_REVOCATION_URL", fleet.agent.url)
    with MutualTLS(files=fleet.files) as tls, echo(fleet.by_sockets.server()) as server:
        assert isinstance(tls.policy.revocation, PeerLists)
        assert call(server.address, tls.client())[1] == WEB_2


@pytest.fixture
def kept_list(fleet: Fleet, tmp_path: Path) -> Iterator[Path]:
    """The list that the documented side container keeps, once it has one."""
    blocks = (CHECKOUT / "docs/pod-certificates.md").read_text().split("```yaml\n")[1:]
    (manifest,) = [block.split("```")[0] for block in blocks if "revocation-list" in block]
    (container,) = yaml.safe_load(manifest)["initContainers"]
    *shell, script = container["command"]
    for documented, here in {
        "https://cluster-agent.vanadium-system.svc:8193": fleet.agent.url,
        "/lists/": f"{tmp_path}/",
        "sleep 15": "sleep 0.2",
    }.items():
        assert documented in script
        script = script.replace(documented, here)
    with subprocess.Popen([*shell, script], start_new_session=True) as running:
        try:
            (path,) = wait_for("the list", lambda: [one for one in [tmp_path / "web.crl"] if one.exists()])
            yield path
        finally:
            os.killpg(running.pid, signal.SIGKILL)


def test_the_documented_side_container_keeps_a_list_that_a_verifier_reads(
    fleet: Fleet, kept_list: Path
) -> None:
    policy = Policy(revocation=ListFile(kept_list), without_list=WithoutList.REFUSE)
    with MutualTLS(files=fleet.files, policy=policy) as by_files, echo(fleet.by_sockets.server()) as server:
        assert call(server.address, by_files.client())[1] == WEB_2
    written = kept_list.stat().st_ino
    wait_for("the next one", lambda: kept_list.stat().st_ino != written)


def test_a_revoked_peer_is_refused_by_the_lists_of_the_cluster_agent(fleet: Fleet) -> None:
    lists = PublishedLists(fleet.agent.url)
    policy = Policy(revocation=PeerLists(lists), without_list=WithoutList.REFUSE)
    name = Name.parse("acme:prod:shop:web")

    def published() -> str | None:
        answer = lists.revocation_lists_since(name, None)
        return answer[0] if answer is not None and answer[1].entries else None

    # The first list of an application comes seconds after its first certificate.
    version = wait_for("the first list", published)
    with MutualTLS(files=fleet.files, policy=policy) as by_files, echo(fleet.by_sockets.server()) as server:
        assert call(server.address, by_files.client())[1] == WEB_2
        assert lists.revocation_lists_since(name, version) is None
        with fleet.agent.control_plane_client() as administrator:
            administrator.post("/v1/revoke", json={"name": WEB_2}).raise_for_status()
        with pytest.raises(ssl.SSLCertVerificationError, match="revoked"):
            call(server.address, by_files.client())
    nowhere = PublishedLists("https://127.0.0.1:1")
    with pytest.raises(AgentError, match="no answer from the cluster agent"):
        nowhere.revocation_lists_since(name, None)


def judged(policy: Policy) -> Reason | None:
    try:
        verify_blessing(REALM.blessing, REALM.roots, now=NOW, policy=policy)
    except VerificationError as error:
        return error.reason
    return None


SERIAL = REALM.blessing.leaf.serial_number


def test_lists_in_a_file_are_followed_and_those_that_cannot_be_read_change_nothing(tmp_path: Path) -> None:
    path = tmp_path / "web.crl"
    path.write_bytes(signed(1))
    policy = Policy(revocation=ListFile(path), without_list=WithoutList.REFUSE)
    assert judged(policy) is None
    path.write_bytes(signed(2, SERIAL, 7))
    assert judged(policy) is Reason.REVOKED
    path.write_bytes(b"no list at all")
    assert judged(policy) is Reason.REVOKED
    path.unlink()
    assert judged(policy) is Reason.REVOKED


@pytest.mark.parametrize("later", ["older", "another's", "none"])
def test_attack_a_file_with_a_list_that_replaces_none_ends_no_revocation(tmp_path: Path, later: str) -> None:
    """The program that keeps the file need not verify what it was sent."""
    path = tmp_path / "web.crl"
    path.write_bytes(signed(2, SERIAL))
    policy = Policy(revocation=ListFile(path))
    assert judged(policy) is Reason.REVOKED
    sent = {"older": signed(1), "another's": signed(3, of=realm().application), "none": b""}
    path.write_bytes(sent[later])
    assert judged(policy) is Reason.REVOKED


def test_attack_a_file_of_any_size_is_read_in_part_and_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "web.crl"
    path.write_bytes(signed(2, SERIAL))
    policy = Policy(revocation=ListFile(path))
    assert judged(policy) is Reason.REVOKED
    with path.open("wb") as file:
        file.truncate(4 << 30)
    tracemalloc.start()
    try:
        assert judged(policy) is Reason.REVOKED
        assert tracemalloc.get_traced_memory()[1] < 2 * published_lists.MOST_BYTES
    finally:
        tracemalloc.stop()
    monkeypatch.setattr(Path, "open", None)  # it would raise
    assert judged(policy) is Reason.REVOKED


class Server:
    """Hands out the application's lists, and counts how often it is asked for them."""

    def __init__(self) -> None:
        self.asked = 0
        self.number, self.serials, self.away = 1, [7], False

    def revocation_lists_since(
        self, application: Name, version: str | None
    ) -> tuple[str, RevocationLists] | None:
        self.asked += application == REALM.application.name
        if self.away:
            raise AgentError("Unreachable", "away")
        number = str(self.number)
        return (
            None if number == version else (number, RevocationLists.of([signed(self.number, *self.serials)]))
        )


def test_a_server_that_is_no_pod_agent_is_asked_now_and_then_also_while_it_is_away() -> None:
    server, clock = Server(), Clock(NOW)
    lists = PeerLists(server, ask_every_seconds=15, clock=lambda: clock().timestamp())
    policy = Policy(revocation=lists, without_list=WithoutList.REFUSE)
    server.away = True
    assert judged(policy) is judged(policy) is Reason.REVOCATION_UNKNOWN
    assert server.asked == 1
    server.away = False
    clock.turn(seconds=30)
    assert judged(policy) is judged(policy) is None
    assert server.asked == 2
    server.number, server.serials = 2, [SERIAL]
    clock.turn(seconds=30)
    assert judged(policy) is Reason.REVOKED
    server.number, server.serials = 3, [7]
    clock.turn(seconds=15)  # the answer to this question comes beside
    wait_for("the answer", lambda: judged(policy) is None)
    assert server.asked == 4


def test_no_verification_waits_for_a_server_that_does_not_answer_but_the_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A verification may be in the only thread of a program, and the server away for a day."""
    monkeypatch.setattr(peer_lists, "MOST_WAIT_SECONDS", 0.1)
    server, clock, answers = Server(), Clock(NOW), threading.Event()
    server.serials, ask = [SERIAL], server.revocation_lists_since
    lists = PeerLists(server, ask_every_seconds=15, clock=lambda: clock().timestamp())
    policy = Policy(revocation=lists)
    assert judged(policy) is Reason.REVOKED

    def late(application: Name, version: str | None) -> tuple[str, RevocationLists] | None:
        assert answers.wait(PATIENCE_SECONDS)
        return ask(application, version)

    server.revocation_lists_since = late  # type: ignore[method-assign]
    for seconds in (15, 15, 60):  # one question, and still that one
        clock.turn(seconds=seconds)
        assert judged(policy) is Reason.REVOKED
    fresh = PeerLists(server, ask_every_seconds=15, clock=lambda: clock().timestamp())
    unknown = Policy(revocation=fresh, without_list=WithoutList.REFUSE)
    assert judged(unknown) is judged(unknown) is Reason.REVOCATION_UNKNOWN
    answers.set()
    wait_for("the answer", lambda: judged(unknown) is Reason.REVOKED)
    assert server.asked == 3


def test_attack_an_older_list_that_is_sent_again_does_not_end_a_revocation() -> None:
    server = Server()
    policy = Policy(revocation=PeerLists(server), without_list=WithoutList.REFUSE)
    server.number, server.serials = 2, [SERIAL]
    assert judged(policy) is Reason.REVOKED
    server.number, server.serials = 1, [7]
    assert judged(policy) is Reason.REVOKED
