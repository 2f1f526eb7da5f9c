"""What an administrator does every week, against the real cluster agent: look, revoke, rotate."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from blessings import Name, Principal, TrustBundle
from blessings.directory import DirectoryPrincipal
from tests.cluster_agents import RunningClusterAgent, pod_token, running_cluster_agent
from tests.csrs import csr_of
from tests.vkube.command import PLAIN, called, vkube
from vkube.commands import describe, get, roots

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("weekly")


@pytest.fixture(scope="module")
def agent(directory: Path) -> Iterator[RunningClusterAgent]:
    with running_cluster_agent(directory, rate_per_administrator=1000, rate_per_address=1000) as running:
        held = DirectoryPrincipal.create(directory / "alice")
        blessing = running.control_plane.bless(
            held.public_key, "administrator", now=datetime.now(UTC), lifetime=timedelta(hours=12)
        )
        held.set_blessings(held.blessings.with_default(blessing))
        yield running


@pytest.fixture(scope="module")
def flags(agent: RunningClusterAgent, directory: Path) -> list[object]:
    ca_file = directory / "serving" / "ca.crt"
    return ["--cluster-agent", agent.url, "--credentials", directory / "alice", "--ca", ca_file]


def issued(agent: RunningClusterAgent, namespace: str, *pods: str) -> str:
    """Certificates of these Pods; returns the id of their secret."""
    secret = agent.new_secret(namespace, "web")
    with agent.credential_client(secret["credential"]) as client:
        for pod in pods:
            body = {
                "csr": csr_of(Principal.create()),
                "token": pod_token(agent.tokens, pod, namespace=namespace, pod_uid=f"{namespace}-{pod}"),
            }
            client.post("/v1/seek-blessings", json=body).raise_for_status()
    return str(secret["id"])


def items(*arguments: object) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(vkube(*arguments, "-o", "json"))["items"]
    return found


def test_replicas_are_listed_in_every_format(agent: RunningClusterAgent, flags: list[object]) -> None:
    secret = issued(agent, "listed", "web-2", "web-1")
    command = ["get", "replicas", "-n", "listed", *flags]
    header, first, second = vkube(*command).splitlines()
    assert header.split() == ["NAMESPACE", "POD", "NAME", "LEFT"]
    assert first.split()[:3] == ["listed", "web-1", "acme:prod:listed:web:web-1"]
    assert second.split()[1] == "web-2"
    wide = vkube(*command, "-o", "wide").splitlines()[1].split()
    assert secret in wide
    assert vkube(*command, "-o", "name") == (
        "replica/acme:prod:listed:web:web-1\nreplica/acme:prod:listed:web:web-2\n"
    )
    found = items(*command)
    assert [one["podUid"] for one in found] == ["listed-web-1", "listed-web-2"]
    assert yaml.safe_load(vkube(*command, "-o", "yaml"))["items"] == found
    assert "listed-web-1" in [one["podUid"] for one in items("get", "replicas", "-A", *flags)]
    empty = called("get", "replicas", "-n", "nothing", *flags)
    assert (empty.code, empty.stdout, empty.stderr) == (
        0,
        "",
        "no replicas found in the namespace nothing (-A lists all)\n",
    )


def test_a_watch_prints_what_is_new_until_ctrl_c(
    agent: RunningClusterAgent, flags: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    issued(agent, "watched", "web-1")
    pauses = iter((lambda: issued(agent, "watched", "web-2"), lambda: None))

    def pause(_: float) -> None:
        following = next(pauses, None)
        if following is None:
            raise KeyboardInterrupt
        following()

    monkeypatch.setattr("vkube.commands.get.time.sleep", pause)
    ended = called("get", "replicas", "-n", "watched", "-w", "-o", "name", *flags)
    assert ended.code == 130
    assert ended.stdout == ("replica/acme:prod:watched:web:web-1\nreplica/acme:prod:watched:web:web-2\n")


def test_a_watch_prints_what_is_gone_as_a_row(
    agent: RunningClusterAgent, flags: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    issued(agent, "leaving", "web-1", "web-2")
    revoked: list[str] = []

    def pause(_: float) -> None:
        if revoked:
            raise KeyboardInterrupt
        monkeypatch.undo()  # of the pause, for the command in the command
        revoked.append(vkube("revoke", "--pod", "web-2", "-n", "leaving", *flags))
        monkeypatch.setattr("vkube.commands.get.time.sleep", pause)

    monkeypatch.setattr("vkube.commands.get.time.sleep", pause)
    ended = called("get", "replicas", "-n", "leaving", "-w", *flags)
    assert ended.code == 130
    rows = [line.split()[:3] for line in ended.stdout.splitlines()]
    assert rows == [
        ["EVENT", "NAMESPACE", "POD"],
        ["ADDED", "leaving", "web-1"],
        ["ADDED", "leaving", "web-2"],
        ["DELETED", "leaving", "web-2"],
    ]


def test_one_replica_is_described_by_pod_or_name(agent: RunningClusterAgent, flags: list[object]) -> None:
    issued(agent, "described", "web-1")
    by_pod = vkube("describe", "replica", "web-1", "-n", "described", *flags)
    assert "Name:              acme:prod:described:web:web-1\n" in by_pod
    assert "Has " not in by_pod or "needs" in by_pod
    assert vkube("describe", "replica", "acme:prod:described:web:web-1", "-o", "json", *flags)
    said = vkube("describe", "replica", "web-9", "-n", "described", *flags, ends=1)
    assert (
        "no live replica is called web-9 in the namespace described: vkube get replicas -A lists them" in said
    )


def test_a_replica_is_revoked_by_its_pod(agent: RunningClusterAgent, flags: list[object]) -> None:
    issued(agent, "revoking", "web-1", "web-2")
    ended = called("revoke", "--pod", "web-1", "-n", "revoking", *flags)
    assert (
        "the Pod runs on without an identity; a new one gets one: kubectl delete pod web-1\n" in ended.stderr
    )
    assert ended.stdout.startswith(
        "revoked: replica acme:prod:revoking:web:web-1, 1 valid certificate; revocation lists "
    )
    assert [one["pod"] for one in items("get", "replicas", "-n", "revoking", *flags)] == ["web-2"]
    (revocation,) = items("get", "revocations", "-n", "revoking", *flags)
    assert (revocation["kind"], revocation["pod"]) == ("replica", "web-1")
    assert "no live replica is called web-1" in vkube(
        "revoke", "--pod", "web-1", "-n", "revoking", *flags, ends=1
    )


@pytest.mark.parametrize(
    ("what", "said"),
    [
        (("--name", "acme:prod:x:y:z"), "no live replica has the name acme:prod:x:y:z"),
        (("--serial", "abcd"), "no valid certificate has the serial number abcd"),
        (("--pod-uid", "none"), "no pod with the uid none had a certificate"),
        (("--secret", "none"), "no secret has the id none"),
        (("--application", "none", "-n", "x"), "x/none has no registration, and never had a secret"),
    ],
)
def test_what_is_not_known_is_an_error_and_revokes_nothing(
    flags: list[object], what: tuple[str, ...], said: str
) -> None:
    assert said in vkube("revoke", *what, *flags, ends=1)


def test_an_application_is_revoked_and_reinstated(agent: RunningClusterAgent, flags: list[object]) -> None:
    issued(agent, "closed", "web-1")
    application = ["--application", "web", "-n", "closed"]
    assert "revoked: application closed/web, 1 valid certificate" in vkube("revoke", *application, *flags)
    (revocation,) = items("get", "revocations", "-n", "closed", *flags)
    assert (revocation["kind"], revocation["serviceAccount"]) == ("application", "web")
    assert vkube("reinstate", "web", "-n", "closed", *flags) == "closed/web: reinstated\n"
    assert vkube("reinstate", "web", "-n", "closed", *flags) == "closed/web: was not revoked\n"
    ahead = vkube("revoke", "--pod-uid", "to-come", "--ahead", *flags)
    assert "revoked: replica of the Pod to-come, 0 valid certificates" in ahead
    assert "--ahead: expected --pod-uid or --application" in vkube(
        "revoke", "--serial", "ab", "--ahead", *flags, ends=2
    )


def test_to_wait_for_the_lists_says_who_lacks_them(agent: RunningClusterAgent, flags: list[object]) -> None:
    """No pod agent of these replicas asks, so none gets the lists."""
    issued(agent, "waiting", "web-1", "web-2")
    command = ["revoke", "--pod", "web-1", "-n", "waiting", "--wait", "--wait-timeout", "1"]
    ended = called(*command, *flags)
    assert ended.code == 3
    assert "revoked: replica acme:prod:waiting:web:web-1" in ended.stdout
    assert "does not have the lists yet\n" in ended.stderr
    assert "vkube: after 1 s acme:prod:" in ended.stderr


def test_a_secret_is_forgotten_with_what_was_issued_or_without(
    agent: RunningClusterAgent, flags: list[object]
) -> None:
    first, second = issued(agent, "forgotten", "web-1"), issued(agent, "forgotten", "web-2")
    assert {first, second} == {one["id"] for one in items("secrets", "-n", "forgotten", *flags)}
    assert vkube("forget", first, *flags) == f"forgotten: secret {first}\n"
    assert [one["id"] for one in items("get", "secrets", "-n", "forgotten", *flags)] == [second]
    assert "is revoked" in vkube("forget", second, "--revoke", *flags)
    assert [one["pod"] for one in items("get", "replicas", "-n", "forgotten", *flags)] == ["web-1"]
    assert "no secret has the id none" in vkube("forget", "none", *flags, ends=1)


def test_the_roots_are_rotated_by_hand(flags: list[object]) -> None:
    (active,) = json.loads(vkube("roots", "status", "-o", "json", *flags))["roots"]
    assert active["phase"] == "active"
    shown = vkube("roots", "prepare", *flags)
    assert shown.splitlines()[0].split() == ["KEY", "PHASE", "SINCE", "LEFT", "ACKNOWLEDGED", "NEXT"]
    assert "prepared" in shown
    (prepared,) = [
        one
        for one in json.loads(vkube("roots", "status", "-o", "json", *flags))["roots"]
        if one["phase"] == "prepared"
    ]
    said = vkube("roots", "activate", prepared["key"][:17], *flags, ends=1)
    assert "of them have it" in said
    assert said.endswith("or force it (RootNotDistributed)\n")
    assert "retiring" in vkube("roots", "activate", prepared["key"][:17], "--force", *flags)
    assert "no root has the key ff:00" in vkube("roots", "activate", "ff:00", *flags, ends=1)
    assert "is the beginning of several keys" in vkube("roots", "retire", "", *flags, ends=2)
    vkube("roots", "retire", active["key"], "--force", *flags)
    (left,) = json.loads(vkube("roots", "status", "-o", "json", *flags))["roots"]
    assert (left["key"], left["phase"]) == (prepared["key"], "active")


def test_a_secret_keeper_is_told_what_it_may(
    agent: RunningClusterAgent, flags: list[object], tmp_path: Path
) -> None:
    held = DirectoryPrincipal.create(tmp_path / "webhook")
    blessing = agent.control_plane.bless(
        held.public_key, "webhook", now=datetime.now(UTC), lifetime=timedelta(hours=1)
    )
    held.set_blessings(held.blessings.with_default(blessing))
    said = vkube("get", "replicas", "-A", *flags, "--credentials", tmp_path / "webhook", ends=1)
    assert "vanadium-control-plane:webhook is in the secret keepers' access list" in said


def test_the_roots_are_exported_for_anybody_and_imported_by_a_principal(
    flags: list[object], tmp_path: Path
) -> None:
    pem = vkube("bundle", "export", *flags)
    (listed,) = json.loads(vkube("bundle", "export", "--format", "json", *flags))["roots"]
    assert listed == {"certificate": pem, "pattern": "acme"}
    bundle = vkube("bundle", "export", "--format", "spiffe", *flags)
    assert {one["use"] for one in json.loads(bundle)["keys"]} == {"x509-svid", "jwt-svid"}
    (tmp_path / "bundle.json").write_text(bundle)
    vkube("principal", "create", PLAIN, tmp_path / "bob")
    command = ["bundle", "import", tmp_path / "bob", tmp_path / "bundle.json", "--trust-domain"]
    assert vkube(*command, "acme") == f"{tmp_path / 'bob'} recognises 1 more roots of acme\n"
    assert vkube(*command, "acme") == f"{tmp_path / 'bob'} recognises 0 more roots of acme\n"
    assert "ROOT:      acme " in vkube("principal", "dump", tmp_path / "bob")
    (tmp_path / "bundle.json").write_text("{}")
    assert "a bundle is an object with a list `keys`" in vkube(*command, "acme", ends=1)


def test_the_bundle_of_another_trust_domain_is_added_for_replicas_and_removed(
    flags: list[object], tmp_path: Path
) -> None:
    vkube("principal", "create", PLAIN, tmp_path / "partner", "partner")
    roots = DirectoryPrincipal.open(tmp_path / "partner").roots
    (tmp_path / "bundle.json").write_text(TrustBundle.of(roots, Name.parse("partner")).to_json())
    command = [tmp_path / "bundle.json", "--trust-domain", "partner"]
    assert "1 roots and 0 JWT keys of partner" in vkube("bundle", "add", *command, *flags)
    assert "partner" in vkube("bundle", "list", *flags)
    (listed,) = json.loads(vkube("bundle", "list", "-o", "json", *flags))["bundles"]
    assert listed == "partner"
    own = [tmp_path / "bundle.json", "--trust-domain", "acme"]
    assert "must be a certificate of acme" in vkube("bundle", "add", *own, *flags, ends=1)
    vkube("bundle", "remove", "--trust-domain", "partner", *flags)
    assert json.loads(vkube("bundle", "list", "-o", "json", *flags))["bundles"] == {}


def test_the_keys_of_jwt_svids_are_rotated(flags: list[object]) -> None:
    assert "active" in vkube("jwt-keys", "status", *flags)
    assert "prepared" in vkube("jwt-keys", "rotate", *flags)
    (only,) = json.loads(vkube("jwt-keys", "rotate", "--at-once", "-o", "json", *flags))["keys"]
    assert only["phase"] == "active"


def test_the_audit_is_searched(agent: RunningClusterAgent, flags: list[object]) -> None:
    issued(agent, "audited", "web-1", "web-2")
    vkube("revoke", "--pod", "web-1", "-n", "audited", *flags)
    name = "acme:prod:audited:web"
    made = items("audit", "--name", name, "--act", "blessing-issued", *flags)
    assert [one["record"]["name"] for one in made] == [f"{name}:web-1", f"{name}:web-2"]
    assert len(items("audit", "--name", f"{name}:web-1", *flags)) == 1
    assert items("audit", "--name", "acme:prod:audited:we", *flags) == []
    (revoked,) = items("audit", "--act", "revoked", "--limit", "1", *flags)
    assert revoked["record"]["uid"] == "audited-web-1"
    everything = items("audit", "--since", "1h", "--limit", "100000", *flags)
    assert [one["record"]["at"] for one in everything] == sorted(one["record"]["at"] for one in everything)
    assert items("audit", "--until", "2026-01-01", *flags) == []
    by_caller = items("audit", "--caller", "vanadium-control-plane:administrator", "--act", "revoked", *flags)
    assert revoked in by_caller
    assert items("audit", "--caller", "vanadium-control-plane:webhook", "--act", "revoked", *flags) == []
    shown = vkube("audit", "--act", "revoked", "--limit", "1", *flags).splitlines()
    assert shown[0].split() == ["TIME", "ACT", "CALLER", "ABOUT"]
    assert "uid=audited-web-1 certificates=1" in shown[1]
    assert "expected 1h, 7d" in vkube("audit", "--since", "soon", *flags, ends=2)


def test_listings_to_the_letter() -> None:
    replica = {
        "name": "acme:prod:shop:web:web-1", "namespace": "shop", "serviceAccount": "web", "pod": "web-1",
        "podUid": "705ab4f5", "secret": "s-1", "serial": "ab12", "publicKey": "3d:92",
        "notAfter": "2026-11-28T12:45:00+00:00", "acknowledged": {"roots": 2, "crl": 7},
    }  # fmt: skip
    assert get.listing("replica", NOW).text([replica], "wide") == (
        "NAMESPACE   POD     NAME                       LEFT   DELIVERY   SERVICE ACCOUNT   SERIAL   "
        "SECRET   POD UID    ACKNOWLEDGED\n"
        "shop        web-1   acme:prod:shop:web:web-1   45m    sidecar    web               ab12     "
        "s-1      705ab4f5   crl=7,roots=2\n"
    )
    replica["published"] = {"crl": {"required": 9}, "roots": {"required": 1}}
    assert describe.described_replica(replica, NOW) == (
        "Name:              acme:prod:shop:web:web-1\n"
        "Namespace:         shop\n"
        "Service account:   web\n"
        "Pod:               web-1\n"
        "Pod UID:           705ab4f5\n"
        "Certificate:       serial ab12, until 2026-11-28T12:45:00+00:00 (45m left)\n"
        "Public key:        3d:92\n"
        "Issued under:      secret s-1\n"
        "Has crl:           version 7, needs 9\n"
        "Has roots:         version 2, up to date\n"
    )
    shown = describe.described_replica({**replica, "delivery": "volume", "acknowledged": {}}, NOW)
    assert "Delivery:          volume: its kubelet renews the certificate, and tells of no publica" in shown
    assert "Has " not in shown
    active = {"key": "3d:92", "phase": "active", "since": "2026-01-01T00:00:00Z"}
    prepared = {"key": "4e:00", "phase": "prepared", "since": "2026-11-28T00:00:00Z", "shareNeeded": 1.0}
    waits = {"activeAtTheLatest": "2026-11-29T00:02:00Z", "liveReplicas": 5, "acknowledged": 4}
    answer = {
        "roots": [
            {**active, "notAfter": "2026-12-01T12:00:00Z"},
            {**prepared, **waits, "notAfter": "2036-11-28T12:00:00Z"},
        ]
    }
    assert roots.shown(answer, NOW) == (
        "KEY     PHASE      SINCE                  LEFT    ACKNOWLEDGED   NEXT\n"
        "3d:92   active     2026-01-01T00:00:00Z   3d      <none>         <none>\n"
        "4e:00   prepared   2026-11-28T00:00:00Z   3653d   4/5            "
        "active when 100% have it, at the latest 2026-11-29T00:02:00Z\n"
    )
