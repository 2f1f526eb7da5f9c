"""The issuing certificate that somebody else keeps as files: what is taken, what is refused, and that no
replica notices a change. Certificates in cert-manager's form, swapped as a kubelet swaps them."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from prometheus_client import CollectorRegistry, generate_latest
from structlog.testing import capture_logs

from blessings import Blessing, Expiry, Name, Principal, Roots, verify_blessing
from cluster_agent.errors import BadRequest, DataDirectoryError, Unavailable
from cluster_agent.model import Application, Issuance, Secret
from cluster_agent.monitoring.metrics import MountedMetrics
from cluster_agent.roots.keys import HeldRoot, RootKeys
from cluster_agent.roots.mounted_files import MountedFiles, check, read
from cluster_agent.roots.mounted_issuers import MountedIssuers
from cluster_agent.roots.root_keeper import RootKeeper
from cluster_agent.roots.rotation import Phase, Schedule
from cluster_agent.signing.key_files import make_signing_room, mounted_room
from cluster_agent.signing.room import ROOT_LIFETIME
from cluster_agent.store import Store
from tests.claims import Administrator
from tests.clock import Clock
from tests.cluster_agents import RunningClusterAgent, as_arguments, pod_token, running_cluster_agent
from tests.csrs import csr_of
from tests.mounting import CertificateAuthority, swap
from tests.waiting import wait_for

PREFIX, WEB = Name.parse("acme:prod"), Name.parse("acme:prod:shop:web")
TTL, MARGIN = timedelta(hours=1), timedelta(minutes=2)
CHIEF = Name.parse("acme:administrator")
NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)


def checked(data: dict[str, bytes], now: datetime = NOW, **changes: Any) -> HeldRoot:
    files = MountedFiles(data["tls.crt"], data["tls.key"], data["ca.crt"])
    keywords = {"prefix": PREFIX, "at_least": TTL, "known_roots": {}, "gone": (), "now": now, **changes}
    return check(files, **keywords)


def refusal(data: dict[str, bytes], now: datetime = NOW, **changes: Any) -> tuple[str, str]:
    with pytest.raises(BadRequest) as caught:
        checked(data, now, **changes)
    return caught.value.reason, str(caught.value)


@pytest.fixture(scope="module")
def authority() -> CertificateAuthority:
    return CertificateAuthority.create(NOW)


def test_a_certificate_in_cert_managers_form_is_taken(authority: CertificateAuthority) -> None:
    taken = checked(authority.issue(NOW))
    assert taken.certificate == authority.certificate
    assert taken.signing.name == PREFIX


def test_attack_a_certificate_that_does_not_let_us_sign_for_the_prefix(
    authority: CertificateAuthority,
) -> None:
    other_root = CertificateAuthority.create(NOW, name="other")
    same_name = CertificateAuthority.create(NOW)
    good = authority.issue(NOW)
    for data, reason in (
        (authority.issue(NOW, ca=False), "InvalidChain"),
        (authority.issue(NOW, path_length=0), "NoRoomBelow"),
        (authority.issue(NOW, components=("acme", "test")), "OtherName"),
        (authority.issue(NOW, components=("acme",)), "OtherName"),
        (authority.issue(NOW, trust_domain="acme/prod"), "InvalidChain"),
        (other_root.issue(NOW, components=("other", "prod"), trust_domain="other"), "OtherRoot"),
        ({**good, "ca.crt": same_name.issue(NOW)["ca.crt"]}, "ChainInvalid"),
        ({**good, "ca.crt": good["tls.crt"]}, "OtherRoot"),
        ({**good, "ca.crt": good["ca.crt"] * 2}, "InvalidRoot"),
        ({**good, "ca.crt": b""}, "InvalidRoot"),
        ({**good, "tls.crt": good["tls.crt"][:200]}, "InvalidChain"),
        ({**good, "tls.crt": b"\xff"}, "InvalidChain"),
    ):
        assert refusal(data)[0] == reason, data


def test_attack_a_key_that_is_not_the_certificates(authority: CertificateAuthority) -> None:
    good, other = authority.issue(NOW), authority.issue(NOW)
    reason, said = refusal({**good, "tls.key": other["tls.key"]})
    assert reason == "KeyMismatch"
    assert "PRIVATE" not in said
    weak = rsa.generate_private_key(65537, 2048)
    spelled = weak.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    assert refusal({**good, "tls.key": spelled})[0] == "InvalidKey"
    assert refusal({**good, "tls.key": good["tls.key"][:100]})[0] == "InvalidKey"
    of_weak = authority.issue(NOW, key=weak)
    assert refusal({**of_weak, "tls.key": good["tls.key"]})[0] == "InvalidChain"
    assert refusal(of_weak)[0] == "InvalidKey"


def test_a_certificate_without_a_key_identifier_names_nobody(authority: CertificateAuthority) -> None:
    """RFC 5280, 4.2.1.1: what it signs has to name its key by that."""
    reason, said = refusal(authority.issue(NOW, key_identifier=False))
    assert reason == "ChainInvalid"
    assert "certificate 0, subjectKeyIdentifier: there is none" in said


def test_a_directory_that_cannot_be_looked_at_is_said_to_be(tmp_path: Path) -> None:
    with pytest.raises(BadRequest, match="cannot be read: File name too long") as caught:
        read(tmp_path / ("x" * 300))
    assert caught.value.reason == "FileUnreadable"


def test_attack_a_certificate_that_has_ended_or_ends_within_the_ttl(authority: CertificateAuthority) -> None:
    data = authority.issue(NOW, lifetime=timedelta(days=1))
    checked(data, NOW + timedelta(hours=23))
    assert refusal(data, NOW + timedelta(hours=23, seconds=1))[0] == "EndsTooSoon"
    assert refusal(data, NOW + timedelta(hours=24))[0] == "ChainInvalid"
    assert refusal(data, NOW - timedelta(seconds=1))[0] == "ChainInvalid"
    outlives = CertificateAuthority.create(NOW, days=1).issue(NOW, lifetime=timedelta(days=2))
    assert refusal(outlives)[0] == "ChainInvalid"


def test_attack_a_certificate_with_caveats() -> None:
    administrator = Administrator(NOW)
    principal = Principal.create()
    chain = administrator.grant(principal.public_key, caveats=[Expiry(NOW + timedelta(days=3))])
    root = administrator.root_pem.encode()
    data = {"tls.crt": chain.encode(), "tls.key": principal.to_pem(), "ca.crt": root}
    assert refusal(data)[0] == "RestrictedBlessing"


def test_a_root_is_succeeded_by_another_key_and_never_comes_back(authority: CertificateAuthority) -> None:
    """What replicas have is the root's certificate: one with a longer life says nothing to them."""
    held = checked(authority.issue(NOW))
    later = NOW + timedelta(days=3649)
    again = CertificateAuthority.create(later, key=authority.key)
    data = again.issue(later, lifetime=timedelta(days=365))
    known = {held.fingerprint: authority.certificate}
    assert refusal(data, later, known_roots=known)[0] == "RootReissued"
    assert checked(data, later).certificate == again.certificate
    within = again.issue(later, lifetime=timedelta(hours=20))
    assert checked(within, later, known_roots=known).certificate == authority.certificate
    assert refusal(authority.issue(NOW), gone=(held.fingerprint,))[0] == "RootGone"


def test_files_that_are_missing_or_change_while_they_are_read_are_not_taken(
    authority: CertificateAuthority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(BadRequest, match="is missing"):
        read(tmp_path)
    first, second = authority.issue(NOW), authority.issue(NOW)
    swap(tmp_path / "volume", first)
    whole = read(tmp_path / "volume")
    assert whole == MountedFiles(first["tls.crt"], first["tls.key"], first["ca.crt"])

    opened, left, change = Path.open, [0], [lambda: swap(tmp_path / "volume", second)]

    def open_after_a_change(path: Path, *arguments: Any, **keywords: Any) -> Any:
        """It happens before the `left`-th file is opened."""
        left[0] -= 1
        if left[0] == 0:
            change[0]()
        return opened(path, *arguments, **keywords)

    monkeypatch.setattr(Path, "open", open_after_a_change)
    for number in range(1, 7):
        left[0] = number
        assert read(tmp_path / "volume") is None
        left[0] = 0
        assert read(tmp_path / "volume") == MountedFiles(
            second["tls.crt"], second["tls.key"], second["ca.crt"]
        )
        first, second = second, first

    plain = tmp_path / "plain"
    plain.mkdir()
    for name, content in first.items():
        (plain / name).write_bytes(content)

    def overwrite() -> None:
        left[0] = 0
        (plain / "tls.key").write_bytes(second["tls.key"])

    change[0], left[0] = overwrite, 5
    assert read(plain) is None
    half = read(plain)
    assert half is not None
    assert (
        refusal({"tls.crt": half.certificate, "tls.key": half.key, "ca.crt": half.root})[0] == "KeyMismatch"
    )


class Replica:
    """One process of the agent, with what is in memory only, and its own mount of the files."""

    def __init__(self, store: Store, volume: Path, keys: Path, clock: Clock) -> None:
        self.clock = clock
        made = RootKeys(keys, PREFIX.root, ROOT_LIFETIME, makes_keys=True)
        self.issuers = MountedIssuers.open(volume, PREFIX, TTL, clock, made)
        self.room = mounted_room(keys, self.issuers.identity, makes_keys=True, now=clock())
        self.registry = CollectorRegistry()
        self.metrics = MountedMetrics(self.registry)
        self.keeper = RootKeeper(
            room=self.room,
            records=store.root_succession,
            fleet=store.fleet,
            keys=self.issuers,
            schedule=Schedule(timedelta(days=365), 1.0, TTL, MARGIN),
            trust=lambda _: None,
            now=clock,
        )

    async def start(self) -> Replica:
        await self.keeper.start()
        await self.round()
        return self

    async def round(self) -> None:
        """What happens every few seconds."""
        if await self.issuers.look(self.keeper.state, self.metrics.note):
            await self.keeper.take_keys()
        await self.keeper.look()
        await self.keeper.lead()

    def sign(self, ttl: timedelta = TTL) -> tuple[Blessing, Roots]:
        """What a replica gets."""
        key = Principal.create().public_key
        blessing = self.room.sign_replica(WEB, "web-1", key, now=self.clock(), ttl=ttl)
        return blessing, self.room.identity_roots

    def phases(self) -> dict[str, Phase]:
        return {one.fingerprint: one.phase for one in self.keeper.state.roots}

    def metric(self, name: str) -> float:
        value = self.registry.get_sample_value(f"vanadium_cluster_agent_mounted_{name}")
        assert value is not None, generate_latest(self.registry)
        return value


async def issued_one(store: Store, pod: str, clock: Clock) -> None:
    """A replica is live whose record of issuance this is."""
    now = clock()
    secret = Secret("secret", Application("shop", "web"), "credential", now, now + 90 * TTL, forgotten=False)
    await store.secrets.add(secret)
    await store.issuances.add(Issuance("certificate", secret.id, "web-1", pod, "key", now + TTL))


def told(replica: Replica, have: int) -> Roots:
    """What a replica with the bundle `have` gets when it asks."""
    bundle: Any = replica.keeper.after(have)
    return Roots.from_json(bundle)


def recognise_each_other(clock: Clock, *held: tuple[Blessing, Roots]) -> None:
    for blessing, _ in held:
        for _, roots in held:
            assert str(verify_blessing(blessing, roots, now=clock())) == "acme:prod:shop:web:web-1"


def issuer_of(blessing: Blessing) -> bytes:
    return blessing.certificates[2].public_bytes(Encoding.PEM)


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    return tmp_path / "volume"


async def test_a_renewed_issuer_signs_without_a_restart_and_what_the_old_one_signed_stays_good(
    store: Store, volume: Path, tmp_path: Path
) -> None:
    clock = Clock()
    authority = CertificateAuthority.create(clock())
    first = authority.issue(clock(), lifetime=timedelta(hours=8))
    swap(volume, first)
    replica = await Replica(store, volume, tmp_path / "keys", clock).start()
    before = replica.sign()
    assert issuer_of(before[0]) == first["tls.crt"]
    clock.turn(hours=6)
    await replica.round()
    before = replica.sign()
    second = authority.issue(clock())
    swap(volume, second)
    await replica.round()
    after = replica.sign()
    assert issuer_of(after[0]) == second["tls.crt"]
    recognise_each_other(clock, before, after)
    clock.turn(minutes=59)
    recognise_each_other(clock, before, after)
    assert before[0].not_after <= clock() + timedelta(hours=1, minutes=1)
    restarted = await Replica(store, volume, tmp_path / "keys", clock).start()
    recognise_each_other(clock, before, after, restarted.sign())
    assert set(restarted.phases().values()) == {Phase.ACTIVE}


async def test_an_older_issuer_that_is_put_back_signs_and_is_warned_of(
    store: Store, volume: Path, tmp_path: Path
) -> None:
    clock = Clock()
    authority = CertificateAuthority.create(clock())
    older, newer = (authority.issue(clock(), lifetime=timedelta(days=days)) for days in (30, 90))

    async def warnings(data: dict[str, bytes]) -> list[str]:
        swap(volume, data)
        with capture_logs() as logged:
            await replica.round()
            await replica.round()
        assert issuer_of(replica.sign()[0]) == data["tls.crt"]
        return [one["event"] for one in logged if one["log_level"] == "warning"]

    swap(volume, older)
    replica = await Replica(store, volume, tmp_path / "keys", clock).start()
    assert await warnings(newer) == []
    (warning,) = await warnings(older)
    assert "ends before the one that it replaces" in warning
    assert await warnings(newer) == []


async def test_it_never_signs_beyond_the_issuers_end(store: Store, volume: Path, tmp_path: Path) -> None:
    clock = Clock()
    authority = CertificateAuthority.create(clock())
    swap(volume, authority.issue(clock(), lifetime=timedelta(hours=8)))
    replica = await Replica(store, volume, tmp_path / "keys", clock).start()
    clock.turn(hours=7, minutes=30)
    await replica.round()
    assert replica.sign()[0].not_after == clock() + timedelta(minutes=30)
    clock.turn(minutes=29, seconds=30)
    await replica.round()
    with pytest.raises(Unavailable, match="too soon to sign with it"):
        replica.sign()


async def test_bad_files_are_refused_and_said_once_and_the_issuer_before_goes_on(
    store: Store, volume: Path, tmp_path: Path
) -> None:
    clock = Clock()
    authority = CertificateAuthority.create(clock())
    good = authority.issue(clock())
    swap(volume, good)
    replica = await Replica(store, volume, tmp_path / "keys", clock).start()
    other = authority.issue(clock())
    weak = rsa.generate_private_key(65537, 2048)
    for bad, reason in (
        ({**good, "tls.key": other["tls.key"]}, "KeyMismatch"),
        (authority.issue(clock(), path_length=0), "NoRoomBelow"),
        (authority.issue(clock(), key_identifier=False), "ChainInvalid"),
        ({**authority.issue(clock(), key=weak), "tls.key": good["tls.key"]}, "InvalidChain"),
        (authority.issue(clock(), lifetime=timedelta(minutes=59)), "EndsTooSoon"),
        (CertificateAuthority.create(clock(), name="evil").issue(clock()), "OtherRoot"),
    ):
        swap(volume, bad)
        with capture_logs() as logged:
            await replica.round()
            await replica.round()
        (line,) = logged
        assert (line["event"], line["log_level"]) == (
            "mounted issuer refused, the previous one stays",
            "error",
        )
        assert line["reason"] == reason
        assert "PRIVATE" not in str(line)
        assert replica.metric("issuer_refused") == 1
        assert issuer_of(replica.sign()[0]) == good["tls.crt"]
    swap(volume, good)
    await replica.round()
    assert replica.metric("issuer_refused") == 0
    swap(volume, other)
    await replica.round()
    assert replica.metric("issuer_refused") == 0
    assert issuer_of(replica.sign()[0]) == other["tls.crt"]
    early = authority.issue(clock() + timedelta(minutes=5))
    swap(volume, early)
    await replica.round()
    assert replica.metric("issuer_refused") == 1
    clock.turn(minutes=6)
    await replica.round()
    assert replica.metric("issuer_refused") == 0
    assert issuer_of(replica.sign()[0]) == early["tls.crt"]


async def test_under_a_new_root_nothing_is_signed_before_every_replica_has_it(
    store: Store, volume: Path, tmp_path: Path
) -> None:
    clock = Clock()
    old, new = (CertificateAuthority.create(clock()) for _ in range(2))
    first, second = old.issue(clock()), new.issue(clock())
    swap(volume, first)
    replica = await Replica(store, volume, tmp_path / "keys", clock).start()
    begun = replica.sign()
    swap(volume, CertificateAuthority.create(clock()).issue(clock()))
    assert await replica.issuers.look(replica.keeper.state, replica.metrics.note)
    # Replaced by still another, before it was in any bundle.
    swap(volume, second)
    await replica.round()
    assert list(replica.phases().values()) == [Phase.ACTIVE, Phase.PREPARED]
    assert replica.keeper.state.prepared is not None
    assert replica.keeper.state.prepared.certificate == new.certificate
    held = [begun, replica.sign()]
    assert issuer_of(held[1][0]) == first["tls.crt"]
    assert len(held[1][1]) == 2
    recognise_each_other(clock, *held)
    # The issuer under the old root may be renewed meanwhile; and the new one too.
    third = old.issue(clock())
    swap(volume, third)
    await replica.round()
    assert issuer_of(replica.sign()[0]) == third["tls.crt"]
    swap(volume, second)
    await replica.round()

    clock.turn(seconds=TTL.total_seconds())
    await replica.round()
    last = replica.sign()
    assert issuer_of(last[0]) == third["tls.crt"]
    clock.turn(seconds=MARGIN.total_seconds())
    for _ in range(3):
        await replica.round()
    assert list(replica.phases().values()) == [Phase.RETIRING, Phase.ACTIVE]
    after = replica.sign()
    assert issuer_of(after[0]) == second["tls.crt"]
    recognise_each_other(clock, last, after)
    clock.turn(seconds=(TTL + MARGIN).total_seconds())
    for _ in range(2):
        await replica.round()
    assert list(replica.phases().values()) == [Phase.ACTIVE]
    assert len(replica.sign()[1]) == 1
    swap(volume, first)
    await replica.round()
    assert replica.metric("issuer_refused") == 1, "a root that was retired"
    assert issuer_of(replica.sign()[0]) == second["tls.crt"]


@pytest.mark.parametrize("restart", [False, True])
async def test_the_old_roots_files_put_back_undo_a_new_root_that_does_not_sign_yet(
    store: Store, volume: Path, tmp_path: Path, restart: bool
) -> None:
    """The wrong one was mounted, or one whose key has leaked: it must not sign later, from memory."""
    clock = Clock()
    right, wrong = (CertificateAuthority.create(clock()) for _ in range(2))
    first, mistake = right.issue(clock()), wrong.issue(clock())
    swap(volume, first)
    replica = await Replica(store, volume, tmp_path / "keys", clock).start()
    swap(volume, mistake)
    await replica.round()
    assert list(replica.phases().values()) == [Phase.ACTIVE, Phase.PREPARED]
    swap(volume, first)
    with capture_logs() as logged:
        if restart:
            replica = await Replica(store, volume, tmp_path / "keys", clock).start()
        await replica.round()
        await replica.round()
    prepared = replica.keeper.state.prepared
    assert prepared is not None
    (line,) = [one for one in logged if one["log_level"] == "warning"]
    assert line["key"] == prepared.fingerprint
    assert "withdraw" in line["reason"]

    clock.turn(seconds=2 * (TTL + MARGIN).total_seconds())
    for _ in range(4):
        await replica.round()
    assert list(replica.phases().values()) == [Phase.ACTIVE, Phase.PREPARED]
    assert issuer_of(replica.sign()[0]) == first["tls.crt"]
    # Even by force, its key is not there to sign with.
    await replica.keeper.activate(prepared.fingerprint, force=True, by=CHIEF)
    with pytest.raises(Unavailable, match="not under the active root"):
        replica.sign()
    await replica.keeper.activate(next(iter(replica.phases())), force=True, by=CHIEF)
    await replica.keeper.withdraw(prepared.fingerprint, force=True, by=CHIEF)
    await replica.round()
    assert list(replica.phases().values()) == [Phase.ACTIVE]
    assert issuer_of(replica.sign()[0]) == first["tls.crt"]
    swap(volume, mistake)
    await replica.round()
    assert replica.metric("issuer_refused") == 1, "a root that was withdrawn"
    assert issuer_of(replica.sign()[0]) == first["tls.crt"]


async def test_started_before_a_new_root_is_distributed_it_signs_nothing_until_then(
    store: Store, volume: Path, tmp_path: Path
) -> None:
    clock = Clock()
    old, new = (CertificateAuthority.create(clock()) for _ in range(2))
    swap(volume, old.issue(clock()))
    replica = await Replica(store, volume, tmp_path / "keys", clock).start()
    before = replica.sign()
    swap(volume, new.issue(clock()))
    restarted = await Replica(store, volume, tmp_path / "keys", clock).start()
    with pytest.raises(Unavailable, match="until its own root is distributed and active") as caught:
        restarted.sign()
    assert caught.value.reason == "RootKeyMissing"
    assert list(restarted.phases().values()) == [Phase.ACTIVE, Phase.PREPARED]
    clock.turn(minutes=59)
    recognise_each_other(clock, before)
    clock.turn(minutes=4)
    for _ in range(3):
        await restarted.round()
    assert list(restarted.phases().values()) == [Phase.RETIRING, Phase.ACTIVE]
    restarted.sign()


async def test_restarted_during_a_change_of_root_it_tells_replicas_of_the_new_one_which_ends_the_change(
    store: Store, volume: Path, tmp_path: Path
) -> None:
    """It has the key of neither the root that is active nor, yet, of one that is: telling takes none."""
    clock = Clock()
    old, new = (CertificateAuthority.create(clock()) for _ in range(2))
    swap(volume, old.issue(clock()))
    replica = await Replica(store, volume, tmp_path / "keys", clock).start()
    await issued_one(store, "uid-1", clock)
    swap(volume, new.issue(clock()))
    restarted = await Replica(store, volume, tmp_path / "keys", clock).start()
    assert list(restarted.phases().values()) == [Phase.ACTIVE, Phase.PREPARED]
    assert told(restarted, replica.keeper.version) == Roots.of(old.certificate, new.certificate)

    clock.turn(seconds=MARGIN.total_seconds())
    await restarted.round()
    with pytest.raises(Unavailable, match="until its own root"):
        restarted.sign()
    assert len(told(restarted, restarted.keeper.version - 1)) == 2
    await store.fleet.acknowledge("uid-1", {"roots": restarted.keeper.version}, clock())
    await restarted.round()
    assert list(restarted.phases().values()) == [Phase.RETIRING, Phase.ACTIVE]
    restarted.sign()

    clock.turn(seconds=MARGIN.total_seconds())
    with pytest.raises(Unavailable, match="roots were last read long before"):
        told(restarted, 1)


async def test_started_with_a_reissued_root_it_signs_nothing(
    store: Store, volume: Path, tmp_path: Path
) -> None:
    """Replicas have the certificate of before, under which its chain does not hold."""
    clock = Clock()
    authority = CertificateAuthority.create(clock(), days=100)
    swap(volume, authority.issue(clock(), lifetime=timedelta(days=90)))
    await Replica(store, volume, tmp_path / "keys", clock).start()
    clock.turn(days=80)
    again = CertificateAuthority.create(clock(), key=authority.key)
    swap(volume, again.issue(clock()))
    restarted = await Replica(store, volume, tmp_path / "keys", clock).start()
    assert restarted.metric("issuer_refused") == 1
    with pytest.raises(Unavailable, match="until its own root"):
        restarted.sign()
    swap(volume, authority.issue(clock(), lifetime=timedelta(days=10)))
    await restarted.round()
    restarted.sign()


async def test_an_agent_with_a_root_of_its_own_changes_to_a_mounted_one(
    store: Store, volume: Path, tmp_path: Path
) -> None:
    clock = Clock()
    room = make_signing_room(tmp_path / "keys", PREFIX.root, now=clock())
    keys = RootKeys(tmp_path / "keys", PREFIX.root, ROOT_LIFETIME, makes_keys=True)
    schedule = Schedule(None, 1.0, TTL, MARGIN)
    await RootKeeper(room, store.root_succession, store.fleet, keys, schedule, lambda _: None, clock).start()
    key = Principal.create().public_key
    before = room.sign_replica(WEB, "web-1", key, now=clock(), ttl=TTL), room.identity_roots
    swap(volume, CertificateAuthority.create(clock()).issue(clock()))
    replica = await Replica(store, volume, tmp_path / "keys", clock).start()
    assert replica.room.lasting_fingerprints == room.lasting_fingerprints
    with pytest.raises(Unavailable, match="until its own root"):
        replica.sign()
    assert len(replica.room.identity_roots) == 2
    recognise_each_other(clock, before)
    clock.turn(seconds=(TTL + MARGIN).total_seconds())
    for _ in range(3):
        await replica.round()
    replica.sign()
    with pytest.raises(BadRequest, match="mount an issuer under another root") as caught:
        await replica.keeper.prepare(by=CHIEF)
    assert caught.value.reason == "NoNewRootKey"
    assert keys.held(), "who has a certificate under it may be about"
    clock.turn(seconds=(TTL + MARGIN).total_seconds())
    for _ in range(2):
        await replica.round()
    assert list(replica.phases().values()) == [Phase.ACTIVE]
    assert not keys.held(), "the key of a root that is gone is still there"
    replica.sign()


def test_over_tls_a_replica_learns_the_mounted_root_while_nothing_is_signed(
    tmp_path: Path, volume: Path
) -> None:
    """From a root of the agent's own to a mounted one, within the margin and not the longest TTL."""
    settings: dict[str, Any] = {"root_margin_seconds": 6, "rate_per_replica": 100}
    with running_cluster_agent(tmp_path, **settings) as agent:
        principal = Principal.create()
        with agent.credential_client(agent.new_secret()["credential"]) as client:
            body = {"csr": csr_of(principal), "token": pod_token(agent.tokens)}
            answer = client.post("/v1/seek-blessings", json=body).raise_for_status().json()
    swap(volume, openssl_secret(tmp_path / "first"))
    with (
        running_cluster_agent(tmp_path, issuing_directory=volume, **settings) as agent,
        agent.control_plane_client() as administrator,
        agent.client(principal, Blessing.from_pem(answer["chain"])) as client,
    ):
        have, bundles = {"roots": 1}, [Roots.from_json(answer["roots"])]

        def learnt() -> bool:
            polled = client.post("/v1/watch", json={"have": have})
            if polled.status_code == 503 and polled.json()["error"]["reason"] == "RootsNotRead":
                return False
            news = polled.raise_for_status().json()["publications"].get("roots")
            if news is not None:
                have["roots"] = news["version"]
                bundles.append(Roots.from_json(news["content"]))
            roots = administrator.get("/v1/identity-roots").raise_for_status().json()["roots"]
            return [one["phase"] for one in roots] == ["retiring", "active"]

        wait_for("the peer has learnt", learnt)
        assert {len(one) for one in bundles} == {1, 2}
        made = agent.data_directory / "root.pem"
        assert made.exists()
        (old, _) = administrator.get("/v1/identity-roots").raise_for_status().json()["roots"]
        step = {"key": old["key"], "force": True}
        administrator.post("/v1/identity-roots/withdraw", json=step).raise_for_status()
        wait_for("the file is gone", lambda: not made.exists())


def test_without_a_usable_issuer_it_does_not_start(volume: Path, tmp_path: Path) -> None:
    authority = CertificateAuthority.create(NOW)
    swap(volume, {**authority.issue(NOW), "tls.key": authority.issue(NOW)["tls.key"]})
    with pytest.raises(DataDirectoryError, match=r"--issuing-directory .*: KeyMismatch: tls.key is the key"):
        MountedIssuers.open(volume, PREFIX, TTL, Clock(NOW))
    assert "tls.key" in str(volume / "tls.key")


def seek(agent: RunningClusterAgent, client: httpx.Client) -> tuple[Blessing, Roots]:
    body = {"csr": csr_of(Principal.create()), "token": pod_token(agent.tokens)}
    answer = client.post("/v1/seek-blessings", json=body)
    assert answer.is_success, answer.text
    return Blessing.from_pem(answer.json()["chain"]), Roots.from_json(answer.json()["roots"])


# What cert-manager's SelfSigned and CA issuers put into certificates; the root and the issuer by openssl.
_OPENSSL = """
[req]
distinguished_name = none
prompt = no
string_mask = pkix
[none]
[root]
0.DC = acme
[issuer]
0.DC = acme
1.DC = prod
[ca]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign, cRLSign
subjectAltName = URI:spiffe://acme
subjectKeyIdentifier = hash
"""


def openssl_secret(directory: Path) -> dict[str, bytes]:
    directory.mkdir()
    (directory / "ca.cnf").write_text(_OPENSSL)

    def openssl(arguments: str) -> None:
        subprocess.run(["openssl", *arguments.split()], cwd=directory, check=True, capture_output=True)

    for name in ("root", "tls"):
        openssl(f"ecparam -name prime256v1 -genkey -noout -out {name}.key")
    (directory / "root.cnf").write_text(_OPENSSL.replace("= none", "= root"))
    (directory / "issuer.cnf").write_text(_OPENSSL.replace("= none", "= issuer"))
    openssl("req -x509 -new -key root.key -config root.cnf -extensions ca -days 3650 -sha256 -out ca.crt")
    openssl("req -new -key tls.key -config issuer.cnf -out tls.csr")
    openssl(
        "x509 -req -in tls.csr -CA ca.crt -CAkey root.key -extfile ca.cnf -extensions ca -days 90 -sha256 "
        "-out tls.crt"
    )
    return {name: (directory / name).read_bytes() for name in ("tls.crt", "tls.key", "ca.crt")}


def test_the_program_follows_the_files_over_tls(tmp_path: Path, volume: Path) -> None:
    first = openssl_secret(tmp_path / "first")
    swap(volume, first)
    with running_cluster_agent(tmp_path, issuing_directory=volume, rate_per_application=1000) as agent:
        assert httpx.get(agent.health_url + "/healthz").json()["root"] == "mounted"

        def refused() -> bool:
            return "mounted_issuer_refused 1.0" in httpx.get(agent.health_url + "/metrics/").text

        with (
            agent.credential_client(agent.new_secret()["credential"]) as client,
            agent.control_plane_client() as administrator,
        ):
            before = seek(agent, client)
            assert issuer_of(before[0]) == first["tls.crt"]
            root = x509.load_pem_x509_certificate(first["ca.crt"])
            recognise_each_other(Clock(datetime.now(UTC)), before, (before[0], Roots.of(root)))

            swap(volume, {**first, "tls.key": openssl_secret(tmp_path / "other")["tls.key"]})
            wait_for("a refusal", refused)
            assert '"reason": "KeyMismatch"' in agent.log()
            assert issuer_of(seek(agent, client)[0]) == first["tls.crt"]

            authority = CertificateAuthority("acme", _key(tmp_path / "first" / "root.key"), root)
            second = authority.issue(datetime.now(UTC))
            swap(volume, second)
            wait_for("the second issuer", lambda: agent.log().count('"event": "mounted issuer taken"') == 2)
            # It signs with the new key a moment after it took the issuer.
            wait_for("its blessings", lambda: issuer_of(seek(agent, client)[0]) == second["tls.crt"])
            assert not refused()
            recognise_each_other(Clock(datetime.now(UTC)), before, seek(agent, client))

            third = openssl_secret(tmp_path / "third")
            swap(volume, third)
            wait_for("a prepared root", lambda: '"event": "identity root prepared"' in agent.log())
            in_between = seek(agent, client)
            assert len(in_between[1]) == 2
            assert issuer_of(in_between[0]) == second["tls.crt"]
            roots = administrator.get("/v1/identity-roots").raise_for_status().json()["roots"]
            (prepared,) = [one["key"] for one in roots if one["phase"] == "prepared"]
            step = {"key": prepared, "force": True}
            administrator.post("/v1/identity-roots/activate", json=step).raise_for_status()
            after = seek(agent, client)
            assert issuer_of(after[0]) == third["tls.crt"]
            recognise_each_other(Clock(datetime.now(UTC)), in_between, after)
            claim = client.post("/v1/claim", json=Administrator(datetime.now(UTC)).claim(after[0].public_key))
            assert claim.json()["error"]["reason"] == "NotClaimable"
        assert "PRIVATE" not in agent.log()
        flags = {**agent.flags, "claim": "required", "claim_code_file": tmp_path / "code"}
    ended = subprocess.run(
        [sys.executable, "-m", "cluster_agent", *as_arguments(flags)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert ended.returncode == 2
    assert "not together with --claim" in ended.stderr


def _key(path: Path) -> ec.EllipticCurvePrivateKey:
    principal = Principal.from_pem(path.read_bytes())
    assert isinstance(principal.signing_key, ec.EllipticCurvePrivateKey)
    return principal.signing_key
