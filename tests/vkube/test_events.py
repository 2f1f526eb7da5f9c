"""The way of a Pod to its identity where the kubelet asks for the certificate, as a function of JSON."""

from __future__ import annotations

from typing import Any

from tests.pods import container, pod
from vkube.admission.injected import has_volume, is_injected
from vkube.commands.events import identity_after, steps
from webhook import volume

Object = dict[str, Any]


def request(*conditions: Object, **status: str) -> Object:
    return {
        "metadata": {"creationTimestamp": "2026-11-28T12:00:02Z"},
        "spec": {"podUID": "u", "signerName": "vanadium.io/replica"},
        "status": {**status, "conditions": list(conditions)},
    }


def condition(kind: str, reason: str, message: str) -> Object:
    at = "2026-11-28T12:00:03Z"
    return {"type": kind, "status": "True", "reason": reason, "message": message, "lastTransitionTime": at}


def subject() -> Object:
    made = pod(volumes=[volume.volume(None)])
    made["metadata"] |= {"uid": "u", "creationTimestamp": "2026-11-28T12:00:00Z"}
    return made


def told(*requests: Object) -> tuple[list[str], float | None]:
    rows = steps(subject(), [], "", requests)
    return [what for _, _, who, what in rows if who == "kubelet"], identity_after(rows)


def test_a_certificate_that_is_issued_is_the_pod_s_identity() -> None:
    issued = condition("Issued", "Issued", "signed")
    life = {"notAfter": "2026-11-28T13:00:00Z", "beginRefreshAt": "2026-11-28T12:30:00Z"}
    assert told(request(issued, **life)) == (
        [
            "certificate requested",
            "certificate issued, until 2026-11-28T13:00:00Z, renewed from 2026-11-28T12:30:00Z",
        ],
        3.0,
    )


def test_one_that_is_denied_is_told_with_the_reason_and_is_no_identity() -> None:
    assert told(request(condition("Denied", "Revoked", "the replica is revoked"))) == (
        ["certificate requested", "certificate denied: Revoked, the replica is revoked"],
        None,
    )
    assert told(request()) == (["certificate requested"], None)


def test_a_pod_has_what_the_webhook_adds_by_its_container_or_by_a_volume_of_our_signer() -> None:
    assert is_injected(subject())
    assert has_volume(subject())
    agent = pod(container("vanadium-pod-agent"))
    assert (is_injected(agent), has_volume(agent)) == (True, False)
    by_hand = {"sources": [{"podCertificate": {"signerName": "vanadium.io/replica", "keyType": "ECDSAP256"}}]}
    mounting = [{"name": "identity", "projected": by_hand}]
    assert (is_injected(pod(volumes=mounting)), has_volume(pod(volumes=mounting))) == (True, True)
    assert not has_volume(pod(container("vanadium-pod-agent"), volumes=mounting))
    another = pod(volumes=[{"name": "vanadium-identity", "emptyDir": {}}])
    assert not is_injected(another)
    assert not is_injected({"spec": None})
