"""Mutants of AdmissionReviews, by number.

In a review of a Pod (usual ones, ones with each annotation, injected ones), fields at any depth are removed,
renamed, moved, repeated, taken from another Pod, or given a value of another kind. A tenth of the mutants is
then damaged as text.
"""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterable, Iterator
from typing import Any

from tests.pods import container, pod, review, usual_pod
from tests.webhook.applying import CONFIGURATION, apply, injected
from webhook import layout
from webhook.annotations import (
    CONTAINERS,
    FILES,
    FILES_GROUP,
    FILES_MODE,
    IMAGE,
    KNOWN,
    LOG_LEVEL,
    METRICS_PORT,
    PULL_POLICY,
    RESOURCES,
    STARTUP_WAIT,
    TTL,
)
from webhook.injection import inject
from webhook.volume_support import VolumeSupport

# The kubelets can keep an identity in a volume.
POSSIBLE = VolumeSupport(None)
_MOST_CHANGES = 5
_DAMAGED_AS_TEXT = 0.1
_WITHIN_THE_POD = 0.9

_WORDS = """
    enabled disabled auto volume sidecar windows Always Never 0444 24h 64Mi 10m CREATE UPDATE kube-system /
    /run    /var/run/vanadium ../.. ~0~1 a,b,,c 1e9 -1 TCP None ClusterFirst a
"""
_STRINGS = [
    *_WORDS.split(),
    *("", "\0", "é", "\U0001f600", "\ud800", "x" * 300, "x" * 70_000),
    *(value for name, value in sorted(vars(layout).items()) if name.isupper() and isinstance(value, str)),
]
_NUMBERS = [0, -1, 1, 8194, 2**31, 2**63, 10**30, 0.5, -0.0, 1e308]
_VALUES: list[Any] = [
    *(None, True, False, *_NUMBERS, [], {}, [[]], [{}], {"": ""}, [None], {"a": None}, [1, "a", None, {}]),
    *({"name": "web"}, [{"name": "web"}] * 3, {"add": ["SYS_PTRACE"]}),
]
_FIELDS = """
    metadata spec labels annotations containers initContainers ephemeralContainers volumes env volumeMounts
    volumeDevices ports securityContext resources name generateName hostNetwork hostPID shareProcessNamespace
    dnsPolicy os affinity nodeSelector uid restartPolicy serviceAccountName serviceAccount object request
    namespace dryRun kind
"""
_KEYS = [*_FIELDS.split(), *sorted(KNOWN)]


def _seeds() -> list[dict[str, Any]]:
    resources = {name: "64Mi" if "memory" in name else "20m" for name in RESOURCES}
    files = {FILES: "web", FILES_MODE: "0444", FILES_GROUP: "100"}
    wished = {
        IMAGE: "registry.example/a:1",
        PULL_POLICY: "Always",
        LOG_LEVEL: "debug",
        TTL: "1h",
        CONTAINERS: "web",
        METRICS_PORT: "9000",
        STARTUP_WAIT: "3s",
        **files,
        **resources,
    }
    volume = {layout.DELIVERY_ANNOTATION: "volume"}
    plain = [
        usual_pod(),
        pod(),
        pod(container("web"), init=[container("first", restartPolicy="Always")], annotations=wished),
        pod(annotations=files),
        pod(annotations=volume),
        pod(
            hostNetwork=True,
            dnsPolicy="Default",
            shareProcessNamespace=True,
            labels={layout.INJECT_LABEL: "enabled"},
        ),
        pod(os={"name": "windows"}, nodeSelector={"kubernetes.io/os": "linux"}),
        pod(resources={"requests": {"cpu": "1"}, "limits": {"cpu": "1", "memory": "1Gi"}}),
    ]
    with_volume = inject(pod(annotations=volume), CONFIGURATION, POSSIBLE)
    done = [
        *(injected(subject) for subject in plain[:2]),
        apply(pod(annotations=volume), with_volume),
    ]
    pods = [*plain, *done]
    return [review(subject, version=version) for subject in pods for version in ("v1", "v1beta1")]


class Mutants:
    """Bodies by number; the same for the same seed."""

    def __init__(self, seed: int = 1) -> None:
        self._seed = seed
        self._seeds = _seeds()

    def body(self, number: int) -> bytes:
        rng = random.Random(f"{self._seed} {number}")
        document: Any = copy.deepcopy(rng.choice(self._seeds))
        for _ in range(rng.randint(1, _MOST_CHANGES)):
            self._change(document, rng)
        text = json.dumps(document, ensure_ascii=rng.random() < 0.8).encode("utf-8", "surrogatepass")
        return _damaged(text, rng) if rng.random() < _DAMAGED_AS_TEXT else text

    def _change(self, document: Any, rng: random.Random) -> None:
        request = document.get("request")
        subject = request.get("object") if isinstance(request, dict) else None
        # Few that are no review at all: those end early.
        within = subject if isinstance(subject, dict) and rng.random() < _WITHIN_THE_POD else document
        found = list(places(within))
        if not found:
            return
        # Most of a Pod is within its containers: without this, what decides first would hardly ever change.
        near = [place for place in found if place[2] <= 2]
        owner, key, _ = rng.choice(near if rng.random() < 0.3 else found)
        match rng.randrange(9):
            case 0:
                del owner[key]
            case 1:
                owner[key] = copy.deepcopy(rng.choice(_VALUES))
            case 2 | 3:
                owner[key] = rng.choice(_STRINGS)
            case 4:
                other, there, _ = rng.choice(list(places(rng.choice(self._seeds))))
                owner[key] = copy.deepcopy(other[there])
            case 5:
                owner[key] = [owner[key]] if rng.random() < 0.5 else {rng.choice(_KEYS): owner[key]}
            case 6 if isinstance(owner, dict):
                owner[rng.choice(_KEYS)] = owner.pop(key)
            case 7 if isinstance(owner, dict):
                owner[rng.choice(_KEYS)] = copy.deepcopy(rng.choice([*_VALUES, *_STRINGS]))
            case _:
                if isinstance(owner, list):
                    owner.insert(rng.randint(0, len(owner)), copy.deepcopy(owner[key]))
                else:
                    owner[key] = copy.deepcopy(rng.choice(found)[0])


def places(value: Any, depth: int = 0) -> Iterator[tuple[Any, Any, int]]:
    """Each owner and key below `value`, with its depth."""
    keys: Iterable[Any] = (
        value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    )
    for key in list(keys):
        yield value, key, depth
        yield from places(value[key], depth + 1)


def _damaged(text: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(len(text))
    match rng.randrange(7):
        case 0:
            return text[:at]
        case 1:
            return text[:at] + bytes([rng.randrange(256)]) + text[at + 1 :]
        case 2:
            return text[:at] + text[rng.randrange(len(text)) :]
        case 3:
            return text.replace(b'"request"', b'"request":null,"request"', 1)
        case 4:
            return text.replace(b"null", b"[" * 3000 + b"]" * 3000, 1)
        case 5:
            return text.replace(b"true", rng.choice([b"NaN", b"tru", b"1e999", b"9" * 5000]))
        case _:
            return rng.choice([b"\xef\xbb\xbf", b" " * 70_000, b"\0", b"[]"]) + text
