"""What is concluded about deliveries by somebody who may not list nodes, or not read TTLs."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NoReturn

import pytest

from tests.vkube.admission.test_replay import NEW, OLD, template
from vkube.admission.judgement import judge
from vkube.commands import explain, preflight
from vkube.connection import cluster_agent
from vkube.connection.cluster import Cluster, Object
from vkube.errors import ForbiddenError, UsageError
from webhook.layout import TRUST_BUNDLE
from webhook.settings import Settings
from webhook.volume_support import NO_CLUSTER, RESOURCES, VolumeSupport

OPTIONS = argparse.Namespace(namespace="shop", outdated=True, dry_run=True)
NODE = {
    "metadata": {"name": "n1"},
    "status": {"nodeInfo": {"kubeletVersion": "v1.37.2", "operatingSystem": "linux"}},
}
_HOOKS = "mutatingwebhookconfigurations/vanadium-webhook"


class Seen:
    """What a cluster shows to one user: a namespace whose Pods ask for `delivery`."""

    system, context = "vanadium-system", "test"

    def __init__(self, delivery: str, *pods: Object, sees_nodes: bool = True, image: str = "") -> None:
        annotations = {"vanadium.io/delivery": delivery}
        self.namespace = {"metadata": {"name": "shop", "annotations": annotations}}
        self._pods, self._sees_nodes = pods, sees_nodes
        self._arguments = [f"--pod-agent-image={image or NEW.pod_agent_image}"]

    def get(self, path: str) -> Object:
        if path.endswith("/deployments/webhook"):
            containers = [{"name": "webhook", "args": self._arguments}]
            return {"spec": {"template": {"spec": {"containers": containers}}}}
        return self.namespace

    def find(self, path: str) -> Object | None:
        if path.endswith(_HOOKS):
            return {"webhooks": [{}]}
        return {"resources": [{"name": one} for one in RESOURCES]}

    def items(self, path: str, **_: object) -> Iterator[Object]:
        if path == "/api/v1/nodes":
            if not self._sees_nodes:
                raise ForbiddenError("nodes is forbidden")
            yield NODE
        elif path.endswith("/clustertrustbundles"):
            yield {"metadata": {"name": TRUST_BUNDLE}}
        else:
            yield from self._pods

    def __enter__(self) -> Seen:
        return self

    def __exit__(self, *_: object) -> None: ...


def living(delivery: str, settings: Settings = NEW) -> Object:
    """A Pod of a workload, as the webhook with these settings let it in."""
    of = {"metadata": {"name": "shop", "annotations": {"vanadium.io/delivery": delivery}}}
    made = judge(template().pod, settings, VolumeSupport(None), of).patched
    owners = [{"kind": "DaemonSet", "name": "web", "controller": True}]
    made["metadata"] |= {"name": "web-1", "namespace": "shop", "uid": "u", "ownerReferences": owners}
    return {**made, "status": {"phase": "Running"}}


def _nobody(_: argparse.Namespace) -> NoReturn:
    raise UsageError("you are no administrator")


@contextmanager
def _administrator(_: argparse.Namespace) -> Iterator[Any]:
    class Agent:
        def call(self, *_: str) -> Mapping[str, Any]:
            return {"defaultTtlSeconds": 3600, "shortestTtlSeconds": 3600, "registered": []}

    yield Agent()


def restarted(
    seen: Seen, patch: pytest.MonkeyPatch, capture: pytest.CaptureFixture[str], *, sees_ttls: bool = True
) -> tuple[str, str]:
    patch.setattr(cluster_agent, "administering", _administrator if sees_ttls else _nobody)
    patch.setattr(Cluster, "of", lambda _: seen)
    preflight._restart(OPTIONS)
    told = capture.readouterr()
    return told.out, told.err


@pytest.mark.parametrize(
    ("before", "sees_nodes", "sees_ttls"), [("volume", False, True), ("sidecar", True, False)]
)
def test_what_delivery_a_new_pod_would_have_is_not_guessed(
    before: str,
    sees_nodes: bool,
    sees_ttls: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """`vkube restart --outdated` rolled each such workload, and again at each call."""
    seen = Seen("auto", living(before), sees_nodes=sees_nodes)
    out, error = restarted(seen, monkeypatch, capsys, sees_ttls=sees_ttls)
    assert out == ""
    assert "warning: web-1: left alone, because what delivery a new Pod would have" in error
    assert "every Pod of shop" not in error


def test_who_sees_all_changes_the_delivery(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out, error = restarted(Seen("auto", living("sidecar")), monkeypatch, capsys)
    assert (out, error) == ("daemonset/web would be restarted\n", "")


def test_what_does_not_depend_on_nodes_is_changed_by_whoever_does_not_see_them(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for seen in (
        Seen("sidecar", living("volume"), sees_nodes=False),
        Seen("auto", living("sidecar", OLD), sees_nodes=False),
    ):
        assert restarted(seen, monkeypatch, capsys)[0] == "daemonset/web would be restarted\n"


def test_a_volume_that_is_asked_for_and_there_is_left_without_a_word(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen = Seen("volume", living("volume"), sees_nodes=False)
    out, error = restarted(seen, monkeypatch, capsys)
    assert (out, "left alone" in error) == ("", False)


@pytest.mark.parametrize("before", ["volume", "sidecar"])
def test_nor_does_explain_recommend_a_restart_by_a_guess(before: str) -> None:
    seen, pod = Seen("auto", sees_nodes=False), living(before)
    for guess in (NO_CLUSTER._replace(is_known=False), VolumeSupport(None, is_known=False)):
        assert not explain._is_other(pod, NEW, guess, seen.namespace)
