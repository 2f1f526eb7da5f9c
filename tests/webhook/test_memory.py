"""Any client may call, so nothing long that it sends stays in memory once it is answered."""

from __future__ import annotations

import copy
import gc
import json
import tracemalloc
from contextlib import suppress
from typing import Any

from tests.fuzz.review_mutants import POSSIBLE, places
from tests.pods import JSONObject, container, pod, review
from tests.webhook.applying import CONFIGURATION
from webhook import layout
from webhook.admission import admit
from webhook.annotations import KNOWN
from webhook.body import parse
from webhook.errors import BadRequestError

_LONG = 100_000


def _whole_pod(delivery: str) -> JSONObject:
    """With each of the fields that are read, and without a clash."""
    amounts = {"cpu": "1", "memory": "1Gi"}
    web = container(
        resources={"requests": dict(amounts), "limits": dict(amounts)},
        env=[{"name": "A", "value": "a"}],
        volumeMounts=[{"name": "data", "mountPath": "/data"}],
        volumeDevices=[{"name": "disk", "devicePath": "/dev/disk"}],
        ports=[{"containerPort": 80, "protocol": "TCP"}],
    )
    return pod(
        web,
        init=[container("first", restartPolicy="Always", resources=copy.deepcopy(web["resources"]))],
        annotations={layout.DELIVERY_ANNOTATION: delivery, "vanadium.io/ttl": "1h"},
        labels={"app": "web"},
        volumes=[{"name": "data", "emptyDir": {}}],
        serviceAccountName="web",
        imagePullSecrets=[{"name": "pull"}],
        dnsPolicy="ClusterFirst",
        nodeSelector={"kubernetes.io/os": "linux"},
    )


def _answered(document: Any) -> None:
    with suppress(BadRequestError):
        admit(parse(json.dumps(document).encode()), CONFIGURATION, support=POSSIBLE)


def _kept(bodies: list[Any]) -> int:
    """The bytes that answering them has left."""
    _answered(review(_whole_pod("sidecar")))
    gc.collect()
    tracemalloc.start()
    try:
        for body in bodies:
            _answered(body)
        gc.collect()
        return tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()


def _long(document: Any, owner_at: int, *, digits: bool) -> Any:
    """A copy, in which one value is a long text that is in no other."""
    changed = copy.deepcopy(document)
    owner, key, _ = list(places(changed))[owner_at]
    owner[key] = ("1" if digits else "a") * _LONG + str(owner_at)
    return changed


def test_no_long_text_of_a_review_is_kept() -> None:
    for delivery in ("sidecar", "volume"):
        document = review(_whole_pod(delivery))
        every = range(len(list(places(document))))
        bodies = [_long(document, at, digits=digits) for at in every for digits in (False, True)]
        assert _kept(bodies) < _LONG, delivery


def test_no_long_annotation_is_kept() -> None:
    bodies = [review(pod(annotations={name: "1" * _LONG})) for name in sorted(KNOWN)]
    assert _kept(bodies) < _LONG


def test_nested_arrays_in_place_of_a_text_are_answered() -> None:
    nested = "[" * 1010 + "]" * 1010  # nearly as deep as can be read
    amounts = {"limits": {"cpu": "nested", "memory": "1Gi"}}
    for given in (
        container(resources=amounts),
        container(volumeMounts=[{"name": "data", "mountPath": "nested"}]),
        container(volumeDevices=[{"name": "data", "devicePath": "nested"}]),
    ):
        body = json.dumps(review(pod(given))).replace('"nested"', nested).encode()
        assert admit(parse(body), CONFIGURATION).body
