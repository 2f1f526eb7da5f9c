"""The policy vanadium-not-injected and the webhook agree about which Pods lack an identity that they could
have: both are asked about the same thousand Pods by a real API server."""

from __future__ import annotations

import base64
import json
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.controlplane.control_plane import ControlPlane
from tests.deploy.pod_shapes import pods
from tests.pods import pod
from tests.waiting import wait_for
from tests.webhook.serving import running_webhook
from webhook.identity import has_identity
from webhook.layout import CONTAINER
from webhook.pod import Pod

# The webhook is away, and stays so, in all but the last.
DENY, WARN, OFF, THERE = "agreement-deny", "agreement-warn", "agreement-off", "agreement-there"
HOOK = "pods.agreement.vanadium.io"
CREATED, INVALID, FORBIDDEN = 201, 422, 403
MISSED = "this Pod has none"
COUNT, SEED = 1000, 17


@dataclass
class Creator:
    """Creates Pods by dry runs."""

    client: httpx.Client

    def answer(self, namespace: str, subject: dict[str, Any]) -> httpx.Response:
        return self.client.post(
            f"/api/v1/namespaces/{namespace}/pods", params={"dryRun": "All"}, json=subject
        )

    def misses_identity(self, namespace: str, subject: dict[str, Any]) -> bool:
        """Whether the policy said so, by a refusal or by a warning."""
        answer = self.answer(namespace, subject)
        return MISSED in answer.text + answer.headers.get("warning", "")


@pytest.fixture(scope="module")
def creator(control_plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Creator]:
    """With the policy in force in all four namespaces, and a webhook for the last."""
    control_plane.kubectl("apply", "-k", "deploy")
    for name in (DENY, WARN, OFF, THERE):
        labels = {"vanadium.io/inject": "enabled", "agreement": name}
        if name != OFF:
            labels["vanadium.io/enforce"] = "warn" if name == WARN else "deny"
        control_plane.kubectl.apply(
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}},
            *(
                {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": one, "namespace": name}}
                for one in ("web", "another")
            ),
        )
    with (
        running_webhook(tmp_path_factory.mktemp("webhook")) as webhook,
        control_plane.http_client() as client,
    ):
        control_plane.kubectl.apply(_configuration(webhook.port, webhook.chain_file))
        creator = Creator(client)
        wait_for("the policy", lambda: all(creator.misses_identity(one, pod()) for one in (DENY, WARN)))
        wait_for("the webhook", lambda: CONTAINER in creator.answer(THERE, pod()).text)
        yield creator
        control_plane.kubectl("delete", "mutatingwebhookconfiguration", "agreement")
    control_plane.kubectl("delete", "namespace", DENY, WARN, OFF, THERE, "--wait=false")


def _configuration(port: int, chain: Path) -> dict[str, Any]:
    entry = {
        "name": HOOK,
        "admissionReviewVersions": ["v1"],
        "sideEffects": "None",
        "failurePolicy": "Fail",
        "timeoutSeconds": 30,
        "reinvocationPolicy": "IfNeeded",
        "clientConfig": {
            "url": f"https://127.0.0.1:{port}/mutate",
            "caBundle": base64.b64encode(chain.read_bytes()).decode(),
        },
        "namespaceSelector": {"matchLabels": {"agreement": THERE}},
        "rules": [
            {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}
        ],
    }
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": "agreement"},
        "webhooks": [entry],
    }


def test_the_policy_agrees_with_the_webhook_about_a_thousand_pods(creator: Creator) -> None:
    subjects = list(enumerate(pods(COUNT, SEED)))
    with ThreadPoolExecutor(8) as workers:
        outcomes = list(workers.map(lambda one: _compared(creator, *one), subjects))
    # One for each way in which they differ.
    differing = {title: subjects[number][1] for number, title in enumerate(outcomes) if title.startswith("!")}
    assert differing == {}, json.dumps(differing, indent=1)[:5000]
    seen = Counter(outcomes)
    assert seen.pop("invalid", 0) < COUNT / 5
    # Each way in which the two can agree was met often enough.
    assert set(seen) == {"injected", "left alone", "has it", "refused without it", "refused with it"}
    assert min(seen.values()) > COUNT / 100, seen


def _compared(creator: Creator, number: int, subject: dict[str, Any]) -> str:
    """How the two agree; with an exclamation mark how they do not."""
    without_webhook = creator.answer(DENY, subject)
    denied = MISSED in without_webhook.text
    if without_webhook.status_code != CREATED and not denied:
        assert without_webhook.status_code in (INVALID, FORBIDDEN), without_webhook.text
        return "invalid"
    if number % 10 == 0 and (
        creator.misses_identity(WARN, subject) != denied or creator.misses_identity(OFF, subject)
    ):
        return "! warn, deny and off differ"
    with_webhook = creator.answer(THERE, subject)
    if with_webhook.status_code == CREATED:
        had, has = _has_identity(subject), _has_identity(with_webhook.json())
        expected = has and not had
        agreed = "injected" if expected else "has it" if has else "left alone"
    else:
        message = with_webhook.json()["message"]
        assert message.startswith(f'admission webhook "{HOOK}" denied'), message
        expected = not _has_identity(subject)
        agreed = "refused without it" if expected else "refused with it"
    return agreed if denied == expected else f"! {agreed}, but the policy {'denies' if denied else 'allows'}"


def _has_identity(subject: dict[str, Any]) -> bool:
    return has_identity(Pod(subject))
