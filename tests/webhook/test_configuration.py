"""The MutatingWebhookConfiguration of deploy/: which calls reach the webhook, and what happens without it."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from tests.checkout import CHECKOUT
from webhook.policy import CLUSTER_NAMESPACES

BASE = CHECKOUT / "deploy" / "base"


def entries() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = yaml.safe_load((BASE / "webhook-configuration.yaml").read_text())[
        "webhooks"
    ]
    return found


@pytest.fixture(params=entries(), ids=lambda entry: entry["name"])
def entry(request: pytest.FixtureRequest) -> dict[str, Any]:
    found: dict[str, Any] = request.param
    return found


def test_only_new_pods_and_new_ephemeral_containers_reach_it_by_whatever_version(
    entry: dict[str, Any],
) -> None:
    (rule,) = entry["rules"]
    assert (rule["apiGroups"], rule["apiVersions"], rule["scope"]) == ([""], ["v1"], "Namespaced")
    assert (rule["operations"], rule["resources"]) in (
        (["CREATE"], ["pods"]),
        (["UPDATE"], ["pods/ephemeralcontainers"]),
    )
    assert entry["matchPolicy"] == "Equivalent"


def test_nothing_of_the_cluster_and_nothing_of_our_own_reaches_it(entry: dict[str, Any]) -> None:
    selector = entry["namespaceSelector"]
    assert selector["matchLabels"] == {"vanadium.io/inject": "enabled"}
    (left_out,) = selector["matchExpressions"]
    assert (left_out["key"], left_out["operator"]) == ("kubernetes.io/metadata.name", "NotIn")
    assert set(left_out["values"]) == CLUSTER_NAMESPACES | {"vanadium-system"}


def test_mirror_pods_and_what_is_added_to_pods_without_sockets_are_left_out_before_any_call() -> None:
    conditions = {
        (entry["rules"][0]["resources"][0], one["name"]): one["expression"]
        for entry in entries()
        for one in entry["matchConditions"]
    }
    assert "kubernetes.io/config.mirror" in conditions["pods", "not-a-mirror-pod"]
    assert "'vanadium-socket'" in conditions["pods/ephemeralcontainers", "with-sockets"]


def test_it_has_five_seconds_no_side_effects_and_a_second_call_after_later_webhooks(
    entry: dict[str, Any],
) -> None:
    assert entry["timeoutSeconds"] <= 5
    assert entry["sideEffects"] == "None"
    assert entry["reinvocationPolicy"] == "IfNeeded"


def test_it_fails_open_and_a_policy_judges_what_became_of_the_pod(entry: dict[str, Any]) -> None:
    assert entry["failurePolicy"] == "Ignore"
    policy, *bindings = yaml.safe_load_all((BASE / "policy-not-injected.yaml").read_text())
    assert policy["kind"] == "ValidatingAdmissionPolicy"
    assert policy["spec"]["matchConstraints"]["namespaceSelector"] == entry["namespaceSelector"]
    assert {action for one in bindings for action in one["spec"]["validationActions"]} == {"Deny", "Warn"}
