"""Each check of a PodCertificateRequest, with the attack that it stops. A check without one fails here."""

from __future__ import annotations

import base64
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from cluster_agent.errors import Refusal
from cluster_agent.issuing.checks import require
from cluster_agent.kubernetes.pod_requests import VouchingPod
from cluster_agent.pod_requests import checks
from cluster_agent.pod_requests.checks import Vouched
from cluster_agent.pod_requests.request import PodRequest, Unreadable, is_answered
from tests.csrs import of_unknown_version
from tests.kubelets import SIGNER, Key, stub_csr

OBJECT: dict[str, Any] = {
    "metadata": {
        "namespace": "shop",
        "name": "req-1",
        "uid": "uid-of-request",
        "resourceVersion": "7",
        "creationTimestamp": "2026-11-24T12:00:00Z",
    },
    "spec": {
        "signerName": SIGNER,
        "podName": "web-1",
        "podUID": "uid-of-web-1",
        "serviceAccountName": "web",
        "serviceAccountUID": "uid-of-web",
        "nodeName": "node-1",
        "nodeUID": "uid-of-node",
        "maxExpirationSeconds": 86400,
        "stubPKCS10Request": stub_csr(ec.generate_private_key(ec.SECP256R1())),
    },
}
REQUEST = PodRequest.of(OBJECT)
POD = VouchingPod("uid-of-web-1", "web", "node-1", is_mirror=False, signers=frozenset({SIGNER}))
NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
GOOD = Vouched(REQUEST, POD, "uid-of-web", NOW)
ATTACKS = {
    "_pod_unknown": (replace(GOOD, pod=None),),
    "_other_pod": (replace(GOOD, pod=replace(POD, uid="uid-of-an-earlier-web-1")),),
    "_pod_ended": (
        replace(GOOD, pod=replace(POD, has_ended=True)),
        # A kubelet that does not confirm the end of a deleted Pod.
        replace(GOOD, pod=replace(POD, ends_at=NOW - timedelta(seconds=60))),
    ),
    "_other_service_account": (replace(GOOD, pod=replace(POD, service_account="payroll")),),
    "_service_account_gone": (
        replace(GOOD, service_account_uid=None),
        replace(GOOD, service_account_uid="uid-of-a-new-web"),
    ),
    "_other_node": (
        replace(GOOD, pod=replace(POD, node="node-2")),
        # Not scheduled yet; a request for no node is refused by the API server.
        replace(GOOD, pod=replace(POD, node="")),
    ),
    "_mirror_pod": (replace(GOOD, pod=replace(POD, is_mirror=True)),),
    "_not_asked_for": (
        replace(GOOD, pod=replace(POD, signers=frozenset())),
        replace(GOOD, pod=replace(POD, signers=frozenset({"another.test/signer"}))),
    ),
    "_no_name": (replace(GOOD, request=replace(REQUEST, pod_name="..")),),
}


def refusal_of(vouched: Vouched) -> Refusal:
    with pytest.raises(Refusal) as caught:
        require(checks.VOUCHED, vouched)
    return caught.value


def test_a_request_that_the_api_server_vouches_for_passes() -> None:
    require(checks.VOUCHED, GOOD)


@pytest.mark.parametrize("left", [timedelta(hours=1), timedelta(seconds=-59)])
def test_a_deleted_pod_is_vouched_for_until_its_grace_period_has_ended(left: timedelta) -> None:
    require(checks.VOUCHED, replace(GOOD, pod=replace(POD, ends_at=NOW + left)))


@pytest.mark.parametrize("check", checks.VOUCHED, ids=lambda check: check.__name__)
def test_each_check_alone_stops_an_attack(check: Any) -> None:
    attacks = ATTACKS[check.__name__]
    assert attacks
    for attack in attacks:
        assert check(attack) is not None
        refusal_of(attack)


@pytest.mark.parametrize(
    "key",
    [
        ec.generate_private_key(ec.SECP384R1()),
        ec.generate_private_key(ec.SECP521R1()),
        ed25519.Ed25519PrivateKey.generate(),
        rsa.generate_private_key(65537, 3072),
    ],
    ids=lambda key: type(key).__name__,
)
def test_a_key_that_we_do_not_sign_is_refused_with_the_one_that_we_do(key: Key) -> None:
    with pytest.raises(Refusal, match="use keyType: ECDSAP256") as caught:
        checks.requested_key(base64.b64decode(stub_csr(key)))
    assert caught.value.reason == "UnsupportedKeyType"


def test_attack_a_request_with_the_signature_of_another_key_is_refused() -> None:
    csr = bytearray(REQUEST.csr)
    csr[-1] ^= 1
    with pytest.raises(Refusal) as caught:
        checks.requested_key(bytes(csr))
    assert caught.value.reason in ("CsrSignatureInvalid", "InvalidCsr")


@pytest.mark.parametrize("csr", [b"", b"0" * 11_000, b"no DER", of_unknown_version(REQUEST.csr)])
def test_what_is_no_certificate_request_is_refused(csr: bytes) -> None:
    with pytest.raises(Refusal) as caught:
        checks.requested_key(csr)
    assert caught.value.reason == "InvalidCsr"


@pytest.mark.parametrize(
    ("policy", "asked", "expected"),
    [(3600, 86400, 3600), (3600, 3600, 3540), (3540, 3600, 3540), (86400, 7200, 7140), (43200, 86400, 43200)],
)
def test_a_certificate_lives_as_the_policy_says_and_no_longer_than_the_request(
    policy: int, asked: int, expected: int
) -> None:
    ttl = checks.life(replace(REQUEST, most_seconds=asked), timedelta(seconds=policy))
    assert ttl == timedelta(seconds=expected)
    # By the API server's count, which begins at notBefore.
    assert timedelta(hours=1) <= ttl + checks.BACKDATED
    assert ttl + checks.BACKDATED <= timedelta(seconds=asked) or asked > policy


def test_a_policy_of_a_shorter_life_than_kubernetes_accepts_is_kept() -> None:
    with pytest.raises(Refusal, match="300 s") as caught:
        checks.life(REQUEST, timedelta(minutes=5))
    assert caught.value.reason == "LifeTooShort"


@pytest.mark.parametrize("key", ["signerName", "podName", "podUID", "nodeName", "maxExpirationSeconds"])
def test_an_object_that_lacks_a_field_is_no_request(key: str) -> None:
    spec = {name: value for name, value in OBJECT["spec"].items() if name != key}
    with pytest.raises(Unreadable):
        PodRequest.of({**OBJECT, "spec": spec})


def test_a_request_to_another_signer_is_none_of_ours() -> None:
    with pytest.raises(Unreadable, match="kube-apiserver-client"):
        PodRequest.of(
            {**OBJECT, "spec": {**OBJECT["spec"], "signerName": "kubernetes.io/kube-apiserver-client"}}
        )


def test_attack_of_what_an_author_writes_into_a_request_little_is_kept_while_it_waits() -> None:
    spec = {
        **OBJECT["spec"],
        "unverifiedUserAnnotations": {f"acme.test/{number}": "x" for number in range(10_000)},
        "stubPKCS10Request": base64.b64encode(b"0" * 10_000).decode(),
    }
    kept = PodRequest.of({**OBJECT, "spec": spec})
    assert len(kept.annotations) < 10
    assert len(kept.csr) < 2100
    with pytest.raises(Refusal, match=r"have acme\.test/0, acme\.test/1, "):
        checks.require_no_annotations(kept)
    with pytest.raises(Refusal, match="more than 2048 bytes"):
        checks.requested_key(kept.csr)


@pytest.mark.parametrize("kind", ["Issued", "Denied", "Failed"])
def test_a_request_with_a_final_condition_is_answered(kind: str) -> None:
    assert is_answered({**OBJECT, "status": {"conditions": [{"type": kind}]}})
    assert not is_answered(OBJECT)
    assert not is_answered({**OBJECT, "status": {}})
