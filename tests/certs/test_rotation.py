"""The control plane's certificates over years, turned by a fake clock; stores on a real disk."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509

from blessings import BlessingsError, verify_blessing
from certs import CLUSTER_AGENT, WEBHOOK, Stored, VersionConflict, ensure
from certs.directory_store import DirectoryStore
from certs.issue import Material
from certs.rotation import ROOT_SECRET
from certs.schedule import OVERLAP
from tests.clock import Clock
from tests.foreign.issuer_changes import CASES, ROOT
from tests.foreign.issuers import NOW


class CountingStore(DirectoryStore):
    """A real store that counts what is written."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.writes: list[str] = []

    def write(self, name: str, files: Mapping[str, str], over: Stored | None) -> None:
        super().write(name, files, over)
        self.writes.append(name)


@pytest.fixture
def store(tmp_path: Path) -> CountingStore:
    return CountingStore(tmp_path)


def test_a_first_start_makes_what_is_needed_and_a_second_writes_nothing(store: CountingStore) -> None:
    clock = Clock()
    first = ensure(store, now=clock())
    assert sorted(store.writes) == sorted([ROOT_SECRET, WEBHOOK.secret, CLUSTER_AGENT.secret])
    again = ensure(store, now=clock())
    assert len(store.writes) == 3
    assert again.webhook.chain_pem == first.webhook.chain_pem


def test_each_certificate_proves_its_name_and_has_its_service_names(store: CountingStore) -> None:
    clock = Clock()
    bundle = ensure(store, now=clock())
    name = verify_blessing(bundle.webhook.blessing, bundle.roots, now=clock())
    assert str(name) == "vanadium-control-plane:webhook"
    sans = bundle.cluster_agent.blessing.leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert "cluster-agent.vanadium-system.svc" in sans.value.get_values_for_type(x509.DNSName)


def test_over_five_years_every_serving_certificate_is_trusted_by_readers_of_a_week_old_bundle(
    store: CountingStore,
) -> None:
    clock = Clock()
    earlier = [ensure(store, now=clock())]
    roots_seen = set()
    for _ in range(5 * 365):
        clock.turn(days=1)
        bundle = ensure(store, now=clock())
        roots_seen.add(bundle.webhook.blessing.leaf.issuer.rfc4514_string())
        lagging = earlier[max(0, len(earlier) - OVERLAP.days)]
        for material in (bundle.webhook, bundle.cluster_agent):
            verify_blessing(material.blessing, lagging.roots, now=clock())
            left = material.blessing.not_after - clock()
            assert left >= timedelta(days=9), f"only {left} left"
        earlier.append(bundle)
        assert len(bundle.roots) <= 3
    assert store.writes.count(ROOT_SECRET) >= 12


def test_a_broken_serving_secret_is_made_anew(store: CountingStore) -> None:
    clock = Clock()
    ensure(store, now=clock())
    (store.directory(WEBHOOK.secret) / "tls.key").write_text("broken")
    bundle = ensure(store, now=clock())
    verify_blessing(bundle.webhook.blessing, bundle.roots, now=clock())
    stored = store.read(WEBHOOK.secret)
    assert stored is not None
    assert Material.from_files(stored.files).chain_pem == bundle.webhook.chain_pem


def test_attack_a_serving_certificate_of_another_name_is_replaced(store: CountingStore) -> None:
    clock = Clock()
    bundle = ensure(store, now=clock())
    store.write(WEBHOOK.secret, bundle.cluster_agent.files(), store.read(WEBHOOK.secret))
    assert str(ensure(store, now=clock()).webhook.blessing.presented) == "vanadium-control-plane:webhook"


def test_a_broken_root_is_left_for_a_person(store: CountingStore) -> None:
    ensure(store, now=Clock()())
    (store.directory(ROOT_SECRET) / "tls.key").write_text("broken")
    with pytest.raises(BlessingsError):
        ensure(store, now=Clock()())
    (store.directory(ROOT_SECRET) / "tls.key").unlink()
    with pytest.raises(BlessingsError, match=r"lacks 'tls\.key'"):
        ensure(store, now=Clock()())


def test_the_loser_of_a_race_takes_what_the_winner_wrote(tmp_path: Path) -> None:
    clock = Clock()
    winner = DirectoryStore(tmp_path)

    class LosingStore(DirectoryStore):
        """Somebody else writes first, the first time."""

        lost = False

        def write(self, name: str, files: Mapping[str, str], over: Stored | None) -> None:
            if not self.lost:
                self.lost = True
                ensure(winner, now=clock())
            super().write(name, files, over)

    bundle = ensure(LosingStore(tmp_path), now=clock())
    assert bundle.roots == ensure(winner, now=clock()).roots


def test_a_race_lost_again_and_again_is_an_error(tmp_path: Path) -> None:
    class AlwaysLosing(DirectoryStore):
        def write(self, name: str, files: Mapping[str, str], over: Stored | None) -> None:
            raise VersionConflict(name)

    with pytest.raises(VersionConflict):
        ensure(AlwaysLosing(tmp_path), now=Clock()())


def test_files_are_for_their_owner_alone(store: CountingStore) -> None:
    ensure(store, now=Clock()())
    for name in (ROOT_SECRET, WEBHOOK.secret, CLUSTER_AGENT.secret):
        assert store.directory(name).stat().st_mode & 0o777 == 0o700
        for path in store.directory(name).iterdir():
            assert path.stat().st_mode & 0o777 == 0o600


def test_a_root_put_there_by_others_that_tls_would_refuse_signs_nothing(store: CountingStore) -> None:
    limited = next(one for one in CASES if one.what == "usages: server alone").made(ROOT).root
    pem = limited.pem.decode()
    store.write(ROOT_SECRET, {"tls.crt": pem, "tls.key": limited.key_pem.decode(), "ca.crt": pem}, None)
    with pytest.raises(BlessingsError, match=r"extKeyUsage: .* delete it to start with a new root"):
        ensure(store, now=NOW)


def test_what_a_clock_ahead_of_time_made_is_made_anew_and_stays_trusted(store: CountingStore) -> None:
    clock = Clock()
    clock.turn(hours=2)
    early = ensure(store, now=clock())
    clock.turn(hours=-2)
    bundle = ensure(store, now=clock())
    for material in (bundle.webhook, bundle.cluster_agent):
        verify_blessing(material.blessing, bundle.roots, now=clock())
    written = len(store.writes)
    ensure(store, now=clock())
    assert len(store.writes) == written, "made anew once"
    clock.turn(hours=3)
    verify_blessing(early.webhook.blessing, ensure(store, now=clock()).roots, now=clock())
